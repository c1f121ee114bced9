// The messages that are kept for a device: what waits, and the final states of the rest.

import { call, devicePath } from "./api.js";
import { afterwards, announce, h, time } from "./page.js";

/** How many messages the page shows. */
const SHOWN = 50;

/** How often the states of messages that wait are asked for, in milliseconds: nothing tells that one was sent. */
const INTERVAL = 3000;

const WAITING = ["queued", "sent"];

/**
 * The list of a device's messages, in which those who may send take messages back. `changed` is called with the messages
 * when they were read, `reload` reads them soon, and `end` ends it.
 */
export function kept(id, may, changed) {
  const path = `${devicePath(id)}/messages`;
  const summary = h("p", { class: "soft" });
  const problem = h("p", { class: "error", role: "alert" });
  const rows = h("tbody", {});
  const table = h(
    "table",
    { "aria-labelledby": "kept" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Message"), h("th", { scope: "col" }, "State"), h("th", { scope: "col", class: "wide" }, "Lane"), h("th", { scope: "col", class: "wide" }, "Accepted"), h("th", { scope: "col", class: "wide" }, "Settled"), h("th", { scope: "col", class: "wide" }, "Expires"), h("td", {}))),
    rows,
  );
  table.hidden = true;
  let left = false;
  let waits = false;

  const takeBack = async (message) => {
    problem.textContent = "";
    try {
      await call("DELETE", `${path}/${message}`);
      announce("Taken back");
    } catch (error) {
      problem.textContent = error.message;
    }
    load();
  };
  const row = (message) => {
    const undo = message.state !== "queued" ? null : h("button", { type: "button", class: "quiet", disabled: !may, "aria-label": `Take back ${message.id}`, onclick: () => takeBack(message.id) }, "Take back");
    return h(
      "tr",
      { id: `kept-${message.id}` },
      h("td", {}, h("code", {}, message.id)),
      h("td", {}, h("span", { class: `state ${message.state}` }, message.state), message.reason == null ? null : ` ${message.reason}`),
      h("td", { class: "wide" }, message.lane),
      h("td", { class: "wide" }, time(message.queued_at)),
      h("td", { class: "wide" }, time(message.settled_at)),
      h("td", { class: "wide" }, time(message.expires_at)),
      h("td", {}, undo),
    );
  };
  let shown = "";
  const load = async () => {
    let page;
    try {
      page = await call("GET", `${path}?limit=${SHOWN}`);
    } catch (error) {
      // The page says itself that the device is unknown, or the server away.
      if (!left && error.code !== "device-not-found" && error.status !== 0) problem.textContent = error.message;
      return;
    }
    if (left) return;
    const { messages, next } = page;
    waits = messages.some((message) => WAITING.includes(message.state));
    changed(messages);
    // A button keeps the focus while nothing changes.
    if (shown === JSON.stringify(page)) return;
    shown = JSON.stringify(page);
    summary.textContent = summarized(messages, next != null);
    rows.replaceChildren(...messages.map(row));
    table.hidden = messages.length === 0;
  };
  const interval = setInterval(() => document.hidden || !waits || load(), INTERVAL);
  load();
  return {
    section: h("section", { class: "card", "aria-labelledby": "kept" }, h("h2", { id: "kept" }, "Kept messages"), summary, problem, table),
    reload: afterwards(300, () => left || load()),
    end: () => {
      left = true;
      clearInterval(interval);
    },
  };
}

function summarized(messages, more) {
  const of = (state) => messages.filter((message) => message.state === state).length;
  const counts = ["queued", "sent", "delivered", "rejected", "expired", "dropped"].filter(of).map((state) => `${of(state)} ${state}`);
  const text = counts.length === 0 ? "No messages are kept for the device, or were in the last 24 hours." : `${counts.join(", ")}.`;
  return more ? `The newest ${SHOWN}: ${text}` : text;
}
