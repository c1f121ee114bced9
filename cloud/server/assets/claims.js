// The page of claims, with which devices register themselves, and of the devices that wait for an approval.

import { call } from "./api.js";
import { approvals } from "./approvals.js";
import { claimForm } from "./claim_form.js";
import { follow } from "./events.js";
import { afterwards, announce, confirmed, foreign, h, lacks, time } from "./page.js";

const PAGE = 50;

/** Shows the approvals, the form for new claims and the list of claims. Returns a function that leaves the page. */
export function claims(main, token, live) {
  const may = token.roles.includes("admin");
  const waiting = approvals(may);
  main.append(h("h1", { tabindex: "-1" }, "Claims"), waiting.section);
  const all = token.devices == null;
  const list = all ? claimList(may) : null;
  if (all) main.append(list.section, claimForm(may, () => list.begin()).section);
  else main.append(h("p", { class: "notice" }, "Your token is limited to ", foreign(token.devices), " and cannot see claims, which are not about single devices."));
  if (!may) main.append(lacks("admin"));

  let left = false;
  const load = () => {
    if (left) return;
    waiting.load();
    list?.load();
  };
  const refresh = afterwards(500, load);
  const stop = follow(["registered", "returned", "refused"].map((kind) => ["kind", kind]), refresh, (state) => {
    live(state);
    if (state === "live") refresh();
  });
  const again = setInterval(() => document.hidden || load(), 10000);
  load();
  return () => {
    left = true;
    waiting.end();
    list?.end();
    stop();
    clearInterval(again);
  };
}

/** The list of claims: `load` reads the page again, `begin` the first one. */
function claimList(may) {
  const problem = h("p", { class: "error", role: "alert" });
  const search = h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", placeholder: "Id, devices, label or note" });
  const which = h(
    "select",
    { id: "which" },
    h("option", { value: "" }, "All"),
    h("option", { value: "active" }, "Active"),
    h("option", { value: "used-up" }, "Used up"),
    h("option", { value: "expired" }, "Expired"),
    h("option", { value: "revoked" }, "Revoked"),
  );
  const rows = h("tbody");
  const table = h(
    "table",
    {},
    h("caption", { class: "unseen" }, "Claims"),
    h(
      "thead",
      {},
      h("tr", {}, h("th", { scope: "col" }, "Claim"), h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "Used"), h("th", { scope: "col", class: "wide" }, "Expires"), h("th", { scope: "col", class: "wide" }, "Added"), h("td", {})),
    ),
    rows,
  );
  const empty = h("p", { class: "soft", hidden: true });
  const previous = h("button", { type: "button", class: "quiet", disabled: true, onclick: () => turn(-1) }, "Previous");
  const next = h("button", { type: "button", class: "quiet", disabled: true, onclick: () => turn(1) }, "Next");

  // The cursors of the pages up to the current one.
  let cursors = [null];
  let following = null;
  let asked = 0;
  let left = false;

  const revoke = async (claim) => {
    if (!(await confirmed(`Revoke the claim ${claim.id}?`, "No device registers with it any more. Devices that were registered with it keep their tokens.", "Revoke"))) return;
    try {
      await call("DELETE", `/claims/${claim.id}`);
      announce("Revoked");
    } catch (error) {
      problem.textContent = error.message;
    }
    load();
  };
  const row = (claim) => {
    const undo = claim.state === "revoked" ? null : h("button", { type: "button", class: "quiet", disabled: !may, "aria-label": `Revoke ${claim.id}`, onclick: () => revoke(claim) }, "Revoke");
    const about = [claim.label, claim.note].filter((text) => text != null);
    const returned = claim.returned === 0 ? null : h("div", { class: "soft" }, `returned ${claim.returned}`);
    return h(
      "tr",
      { id: `claim-${claim.id}` },
      h("td", {}, h("code", {}, foreign(claim.devices)), h("div", { class: "soft" }, claim.id, claim.approval ? ", needs approval" : null, ...about.flatMap((text) => [", ", foreign(text)]))),
      h("td", {}, h("span", { class: `state ${claim.state}` }, claim.state)),
      h("td", {}, `${claim.used} of ${claim.uses}`, returned),
      h("td", { class: "wide" }, claim.expires == null ? "never" : time(claim.expires)),
      h("td", { class: "wide" }, time(claim.created), h("div", { class: "soft" }, foreign(claim.created_by))),
      h("td", {}, undo),
    );
  };
  let shown = "";
  const load = async () => {
    const mine = ++asked;
    const query = new URLSearchParams({ limit: PAGE });
    if (which.value) query.set("state", which.value);
    if (search.value.trim()) query.set("search", search.value.trim());
    if (cursors.at(-1)) query.set("cursor", cursors.at(-1));
    let page;
    try {
      page = await call("GET", `/claims?${query}`);
    } catch (error) {
      if (mine === asked && !left) problem.textContent = error.message;
      return;
    }
    if (mine !== asked || left) return;
    problem.textContent = "";
    following = page.next;
    previous.disabled = cursors.length === 1;
    next.disabled = following == null;
    table.hidden = page.claims.length === 0;
    empty.hidden = page.claims.length !== 0;
    empty.textContent = search.value || which.value ? "No claim matches." : "No claims have been made.";
    // A button keeps the focus while nothing changes.
    if (shown === JSON.stringify(page)) return;
    shown = JSON.stringify(page);
    rows.replaceChildren(...page.claims.map(row));
    if (search.value) announce(page.claims.length === 1 ? "1 claim" : `${page.claims.length} claims`);
  };
  const turn = (by) => {
    if (by > 0) cursors.push(following);
    else cursors.pop();
    load();
  };
  const begin = () => {
    cursors = [null];
    load();
  };
  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(begin, 200);
  });
  which.addEventListener("change", begin);
  const section = h(
    "section",
    { class: "card", "aria-labelledby": "claims" },
    h("h2", { id: "claims" }, "Claims"),
    h(
      "form",
      { class: "row", role: "search", onsubmit: (event) => { event.preventDefault(); begin(); } },
      h("div", { class: "field" }, h("label", { for: "search" }, "Search"), search),
      h("div", { class: "field" }, h("label", { for: "which" }, "Show"), which),
    ),
    problem,
    table,
    empty,
    h("div", { class: "row" }, previous, next),
  );
  return {
    section,
    load,
    begin,
    end: () => {
      left = true;
      clearTimeout(typing);
    },
  };
}
