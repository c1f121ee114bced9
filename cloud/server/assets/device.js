// The page of one device.

import { call, devicePath, sendText } from "./api.js";
import { editor } from "./editor.js";
import { follow } from "./events.js";
import { kept } from "./kept.js";
import { afterwards, announce, confirmed, foreign, h, lacks, shownJson, shownText, state, time } from "./page.js";
import { question } from "./question.js";

/** How many events the page shows. */
const SHOWN = 200;

/** Shows a device, its live events and the actions on it. Returns a function that leaves the page. */
export function device(main, token, live, id) {
  const may = (role) => token.roles.includes(role);
  const path = devicePath(id);
  const badge = h("span", {});
  const details = h("dl", { class: "details" });
  const problem = h("p", { class: "error", role: "alert" });
  const log = h("ul", { class: "log", tabindex: "0", "aria-label": "Live messages and events, newest first" });
  const nothing = h("p", { class: "soft" }, "No events since this page was opened.");
  const label = h("input", { id: "label", maxlength: "128", autocomplete: "off" });
  let left = false;
  let current = null;

  const act = async (work, done) => {
    problem.textContent = "";
    try {
      await work();
      announce(done);
      await load();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const post = (what, done) => act(() => call("POST", `${path}/${what}`), done);
  const button = (text, kind, work) => h("button", { type: "button", class: kind, disabled: !may("admin"), onclick: work }, text);
  const disconnect = button("Disconnect", "quiet", async () => {
    if (await confirmed(`Disconnect ${id}?`, "This closes its connection. The device reconnects by itself.", "Disconnect")) post("disconnect", "Disconnected");
  });
  const revoke = button("Revoke", "danger", async () => {
    if (await confirmed(`Revoke the tokens of ${id}?`, "This revokes all tokens of the device and closes its connection. It has to log in with its credentials again.", "Revoke")) post("revoke", "Revoked");
  });
  const block = button("Block", "danger", async () => {
    if (current?.blocked) return post("unblock", "Unblocked");
    if (await confirmed(`Block ${id}?`, "This closes its connection. The device is refused until it is unblocked.", "Block")) post("block", "Blocked");
  });
  const forget = button("Forget", "danger", async () => {
    if (!(await confirmed(`Forget ${id}?`, "This revokes its tokens and removes it from all lists until it logs in again.", "Forget"))) return;
    try {
      await call("DELETE", path);
      location.hash = "#/";
    } catch (error) {
      problem.textContent = error.message;
    }
  });
  const reregister = button("Allow to register again", "quiet", async () => {
    if (await confirmed(`Allow ${id} to register again?`, "For a device that has lost its token. The next login with its id and an account or a claim, within a day, becomes the device. Its tokens stay valid until then.", "Allow")) post("allow-reregistration", "Allowed");
  });
  const send = h("button", { disabled: !may("send") }, "Send");
  const literal = h("input", { id: "literal", type: "checkbox", disabled: !may("send") });
  const keep = h("input", { id: "keep", type: "checkbox", disabled: !may("send") });
  // The state of the message that was kept last.
  const outcome = h("p", { class: "soft", id: "outcome", role: "status" });
  let last = null;
  const told = (message, word) => {
    const text = `Message ${message}: ${word}`;
    if (outcome.textContent !== text) outcome.textContent = text;
  };
  const submit = async () => {
    if (send.disabled || !json.isValid()) return;
    send.disabled = true;
    try {
      const sent = await sendText(id, json.text(), literal.checked, keep.checked);
      last = sent.state == null ? null : sent.id;
      if (last == null) outcome.textContent = "";
      else told(last, sent.state);
      announce(last == null ? "Sent" : "Kept until it is delivered");
      messages.reload();
    } catch (error) {
      json.refuse(error.message);
    }
    send.disabled = !may("send");
  };
  const json = editor("message", "JSON", "Any JSON, such as {\"led\": true}. Press Ctrl+Enter to send.", may("send"), submit);
  const form = h(
    "form",
    { class: "card", "aria-labelledby": "send-title", onsubmit: (event) => { event.preventDefault(); submit(); } },
    h("h2", { id: "send-title" }, "Send a message"),
    json.field,
    may("send") ? null : lacks("send"),
    h("div", { class: "row" }, send, h("label", { for: "keep" }, keep, " Keep until delivered"), h("label", { for: "literal" }, literal, " Keys with $ are data, not escapes")),
    outcome,
  );
  const messages = kept(id, may("send"), (all) => {
    const found = all.find((message) => message.id === last);
    if (found != null) told(last, found.reason == null ? found.state : `${found.state} (${found.reason})`);
  });
  label.disabled = !may("admin");
  const rename = h(
    "form",
    { class: "row", onsubmit: (event) => { event.preventDefault(); act(() => call("PATCH", path, { label: label.value.trim() || null }), "Saved"); } },
    h("div", { class: "field" }, h("label", { for: "label" }, "Label"), label),
    h("button", { class: "quiet", disabled: !may("admin") }, "Save"),
  );

  main.append(
    h("nav", { "aria-label": "Back" }, h("a", { href: "#/" }, "← Fleet")),
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, foreign(id)), badge),
    problem,
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "card", "aria-labelledby": "details" },
        h("h2", { id: "details" }, "Details"),
        details,
        rename,
        h("div", { class: "row" }, disconnect, revoke, block, forget, reregister),
        may("admin") ? null : lacks("admin"),
      ),
      form,
    ),
    question(id, may("send")),
    messages.section,
    h("section", { class: "card", "aria-labelledby": "happens" }, h("h2", { id: "happens" }, "Live"), nothing, log),
  );
  log.hidden = true;

  const load = async () => {
    try {
      const found = await call("GET", path);
      if (left) return;
      // Does not overwrite a label that is being edited.
      if (label.value === (current?.label ?? "")) label.value = found.label ?? "";
      current = found;
    } catch (error) {
      if (!left) problem.textContent = error.message;
      return;
    }
    badge.replaceChildren(state(current));
    block.textContent = current.blocked ? "Unblock" : "Block";
    disconnect.disabled = !may("admin") || !current.connected;
    forget.disabled = !may("admin") || current.blocked;
    details.replaceChildren(
      ...pair("Label", current.label == null ? "–" : foreign(current.label)),
      ...pair("Connected since", time(current.connected_since)),
      ...pair("First seen", time(current.first_seen)),
      ...pair("Last seen", time(current.last_seen)),
      ...pair("Blocked since", time(current.blocked_since)),
      ...registration(current),
    );
  };
  const reload = afterwards(300, () => left || load());
  const heard = (event) => {
    if (event.kind !== "gap" && event.device !== id) return;
    log.prepend(entry(event));
    log.hidden = false;
    nothing.hidden = true;
    while (log.childElementCount > SHOWN) log.lastElementChild.remove();
    if (["connected", "disconnected", "registered", "blocked", "unblocked"].includes(event.kind)) announce(`The device is ${event.kind}`);
    if (event.kind.endsWith("sent") || event.kind === "message-settled" || event.kind === "connected" || event.kind === "gap") messages.reload();
    if (event.kind === "message-settled" && event.message_id === last) told(last, event.reason == null ? event.state : `${event.state} (${event.reason})`);
    if (!event.kind.endsWith("message") && !event.kind.endsWith("sent")) reload();
  };
  const stop = follow([["device", id]], heard, (state) => {
    live(state);
    if (state === "live") reload();
  });
  load();
  // A busy server may store what an event was about later than the event made the page ask for it.
  const again = setInterval(() => document.hidden || load(), 10000);
  return () => {
    left = true;
    stop();
    messages.end();
    clearInterval(again);
  };
}

/** By what the device was registered. */
function registration(device) {
  const of = device.registration;
  const until = device.reregistration_allowed_until;
  return [
    ...(of == null ? pair("Registered by", "–") : [...pair("Registered by", foreign(of.by)), ...pair("Registered", time(of.at)), ...pair("Registered from", of.address ?? "–")]),
    ...(until == null ? [] : pair("May register again until", time(until))),
  ];
}

function pair(name, value) {
  return [h("dt", {}, name), h("dd", {}, value)];
}

const WORDS = {
  connected: ["Connected", ""], disconnected: ["Disconnected", ""], message: ["Message from the device", "up"],
  "raw-message": ["Bytes from the device", "up"], sent: ["Sent to the device", "down"],
  "raw-sent": ["Bytes sent to the device", "down"], "message-settled": ["Kept message", "down"], registered: ["Registered", ""], returned: ["Returned", "no"], refused: ["Refused", "no"], revoked: ["Revoked", "no"],
  blocked: ["Blocked", "no"], unblocked: ["Unblocked", ""], gap: ["Some events are missing here", "no"],
};

function entry(event) {
  const [word, kind] = WORDS[event.kind];
  const at = event.time == null ? null : h("time", { datetime: event.time, title: event.time }, new Date(event.time).toLocaleTimeString());
  const more = [event.by, event.authenticated_by && `by ${event.authenticated_by}`, event.peer, event.address, event.state, event.reason];
  const meta = h("div", { class: "meta" }, at, h("span", { class: "kind" }, word));
  for (const text of more) if (text) meta.append(foreign(text));
  const content = "message" in event ? shownJson(event.message) : event.bytes == null ? null : shownText(`${event.bytes} (Base64)`);
  return h("li", { class: kind }, meta, content == null ? null : h("pre", {}, content));
}
