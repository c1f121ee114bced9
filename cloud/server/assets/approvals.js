// The devices that wait for an operator's approval.

import { call } from "./api.js";
import { announce, confirmed, foreign, h, time } from "./page.js";

/** How many of them the page shows. */
const SHOWN = 100;

/** The list, in which those who may approve and reject. `load` reads it again, `end` ends it. */
export function approvals(may) {
  const problem = h("p", { class: "error", role: "alert" });
  const none = h("p", { class: "soft" }, "No device waits for an approval.");
  const rows = h("tbody");
  const table = h(
    "table",
    { "aria-labelledby": "approvals" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Device"), h("th", { scope: "col", class: "wide" }, "Claim"), h("th", { scope: "col" }, "Address"), h("th", { scope: "col", class: "wide" }, "Waits since"), h("th", { scope: "col", class: "wide" }, "Last asked"), h("td", {}))),
    rows,
  );
  table.hidden = true;
  let left = false;

  const decide = async (method, device, done) => {
    problem.textContent = "";
    try {
      await call(method, `/approvals/${encodeURIComponent(device)}`);
      announce(done);
    } catch (error) {
      problem.textContent = error.message;
    }
    load();
  };
  const reject = async (device) => {
    if (await confirmed(`Reject ${device}?`, "The device is refused for a day. To refuse it for good, revoke its claim.", "Reject")) decide("DELETE", device, "Rejected");
  };
  const row = (one) =>
    h(
      "tr",
      {},
      h("td", { class: "id" }, foreign(one.device)),
      h("td", { class: "wide" }, h("code", {}, one.claim)),
      h("td", {}, one.address ?? "–"),
      h("td", { class: "wide" }, time(one.since)),
      h("td", { class: "wide" }, time(one.last_seen)),
      h(
        "td",
        {},
        h(
          "div",
          { class: "row" },
          h("button", { type: "button", disabled: !may, "aria-label": `Approve ${one.device}`, onclick: () => decide("POST", one.device, "Approved") }, "Approve"),
          h("button", { type: "button", class: "danger", disabled: !may, "aria-label": `Reject ${one.device}`, onclick: () => reject(one.device) }, "Reject"),
        ),
      ),
    );
  let shown = "";
  const load = async () => {
    let page;
    try {
      page = await call("GET", `/approvals?limit=${SHOWN}`);
    } catch (error) {
      if (!left) problem.textContent = error.message;
      return;
    }
    // A button keeps the focus while nothing changes.
    if (left || shown === JSON.stringify(page)) return;
    shown = JSON.stringify(page);
    rows.replaceChildren(...page.approvals.map(row));
    table.hidden = page.approvals.length === 0;
    none.textContent = page.next == null ? "No device waits for an approval." : `The first ${SHOWN} are shown.`;
    none.hidden = page.approvals.length !== 0 && page.next == null;
  };
  return {
    section: h("section", { class: "card", "aria-labelledby": "approvals" }, h("h2", { id: "approvals" }, "Waiting for approval"), problem, none, table),
    load,
    end: () => (left = true),
  };
}
