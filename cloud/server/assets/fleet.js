// The page of all devices.

import { call } from "./api.js";
import { follow } from "./events.js";
import { afterwards, announce, foreign, h, state, throttled, time } from "./page.js";
import { chart } from "./chart.js";

const PAGE = 50;

/** Shows the counts and the list of devices. Returns a function that leaves the page. */
export function fleet(main, token, live) {
  const connected = h("dd", {}, "…");
  const known = h("dd", {}, "…");
  const blocked = h("dd", {}, "…");
  const picture = h("div", { class: "card" }, h("h2", {}, "Last 24 hours"));
  const problem = h("p", { class: "error", role: "alert" });
  const search = h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", placeholder: "Id or label" });
  const which = h(
    "select",
    { id: "which" },
    h("option", { value: "" }, "All"),
    h("option", { value: "connected=true" }, "Connected"),
    h("option", { value: "connected=false" }, "Not connected"),
    h("option", { value: "blocked=true" }, "Blocked"),
  );
  const rows = h("tbody");
  const table = h(
    "table",
    {},
    h("caption", { class: "unseen" }, "Devices"),
    h(
      "thead",
      {},
      h("tr", {}, h("th", { scope: "col" }, "Device"), h("th", { scope: "col" }, "State"), h("th", { scope: "col", class: "wide" }, "Registered by"), h("th", { scope: "col", class: "wide" }, "Last seen")),
    ),
    rows,
  );
  const empty = h("p", { class: "soft", hidden: true });
  const previous = h("button", { type: "button", class: "quiet", disabled: true, onclick: () => turn(-1) }, "Previous");
  const next = h("button", { type: "button", class: "quiet", disabled: true, onclick: () => turn(1) }, "Next");
  main.append(
    h("h1", { tabindex: "-1" }, "Fleet"),
    h("dl", { class: "tiles" }, tile("Connected now", connected), tile("Known devices", known), tile("Blocked", blocked)),
    picture,
    h(
      "section",
      { class: "card", "aria-labelledby": "devices" },
      h("h2", { id: "devices" }, "Devices"),
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
    ),
  );

  // The cursors of the pages up to the current one.
  let cursors = [null];
  let following = null;
  let asked = 0;
  let loading = false;
  let stale = false;
  let left = false;

  const load = async () => {
    const mine = ++asked;
    loading = true;
    stale = false;
    const query = new URLSearchParams(which.value);
    if (search.value.trim()) query.set("search", search.value.trim());
    const devices = [];
    let cursor = cursors.at(-1);
    try {
      // The server examines some thousand devices for one answer, which may have few that match.
      do {
        query.set("limit", PAGE - devices.length);
        if (cursor) query.set("cursor", cursor);
        const page = await call("GET", `/devices?${query}`);
        if (mine !== asked || left) return;
        devices.push(...page.devices);
        cursor = page.next;
      } while (cursor != null && devices.length < PAGE);
      problem.textContent = "";
      following = cursor;
      show(devices);
    } catch (error) {
      if (mine === asked) problem.textContent = error.message;
    } finally {
      if (mine === asked) loading = false;
      if (mine === asked && stale && !left) load();
    }
  };
  /** Loads the page again, but does not interrupt: events may come faster than a page that has many parts. */
  const reload = () => {
    if (loading) stale = true;
    else load();
  };
  const show = (devices) => {
    // Keeps the focus on the same row for keyboard users.
    const focused = document.activeElement?.dataset?.device;
    rows.replaceChildren(...devices.map(row));
    if (focused) for (const link of rows.querySelectorAll("a")) if (link.dataset.device === focused) link.focus();
    table.hidden = devices.length === 0;
    empty.hidden = devices.length !== 0;
    empty.textContent = search.value || which.value ? "No device matches." : "No device has connected yet.";
    previous.disabled = cursors.length === 1;
    next.disabled = following == null;
    if (search.value) announce(devices.length === 1 ? "1 device" : `${devices.length} devices`);
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
  const count = async () => {
    try {
      const fleet = await call("GET", "/fleet");
      connected.textContent = fleet.connected;
      known.textContent = fleet.known;
      blocked.textContent = fleet.blocked;
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const draw = async () => {
    if (token.devices != null) {
      picture.replaceChildren(h("h2", {}, "Last 24 hours"), h("p", { class: "soft" }, "Your token is limited to ", foreign(token.devices), " and cannot see the numbers of the whole fleet."));
      return;
    }
    try {
      const minutes = await call("GET", "/history");
      const room = picture.querySelector("h2").clientWidth;
      picture.replaceChildren(h("h2", {}, "Last 24 hours"), chart(minutes, room));
    } catch (error) {
      picture.replaceChildren(h("h2", {}, "Last 24 hours"), h("p", { class: "error" }, error.message));
    }
  };

  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(begin, 200);
  });
  which.addEventListener("change", begin);
  const refresh = afterwards(500, () => {
    if (left) return;
    reload();
    count();
  });
  const redraw = throttled(5000, () => left || draw());
  const kinds = ["connected", "disconnected", "registered", "returned", "refused", "revoked", "blocked", "unblocked"];
  const stop = follow(kinds.map((kind) => ["kind", kind]), () => { refresh(); redraw(); }, (state) => {
    live(state);
    if (state === "live") refresh();
  });
  const minutely = setInterval(() => document.hidden || draw(), 60000);
  // A busy server may store what an event was about later than the event made the page ask for it.
  const again = setInterval(() => document.hidden || (reload(), count()), 10000);
  load();
  count();
  draw();
  return () => {
    left = true;
    stop();
    clearInterval(minutely);
    clearInterval(again);
    clearTimeout(typing);
  };
}

function tile(name, value) {
  return h("div", { class: "card tile" }, h("dt", {}, name), value);
}

/** The key of a certificate is long. */
function shortened(by) {
  return by.startsWith("certificate:") ? `${by.slice(0, 24)}…` : by;
}

function row(device) {
  const link = h("a", { class: "id", href: `#/devices/${encodeURIComponent(device.id)}`, "data-device": device.id }, foreign(device.id));
  return h(
    "tr",
    {},
    h("td", {}, link, device.label == null ? null : h("div", { class: "soft" }, foreign(device.label))),
    h("td", {}, state(device)),
    h("td", { class: "wide" }, device.registration == null ? "–" : foreign(shortened(device.registration.by))),
    h("td", { class: "wide" }, device.connected ? "now" : time(device.last_seen)),
  );
}
