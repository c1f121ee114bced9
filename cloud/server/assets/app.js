// The dashboard: signing in and out, and which page is shown.

import { call, resume, session, signIn, signOut } from "./api.js";
import { foreign, h } from "./page.js";
import { fleet } from "./fleet.js";
import { claims } from "./claims.js";
import { device } from "./device.js";

const main = document.getElementById("main");
const out = document.getElementById("sign-out");
const who = document.getElementById("who");
const pages = document.getElementById("pages");
const indicator = document.getElementById("live");

let token = null;
// Shown on the sign-in page, at whatever address that is.
let notice = null;
let leave = () => {};

const STATES = { live: "Live", reconnecting: "Reconnecting…", paused: "Paused, click to continue" };

/** Shows whether the page follows the server. */
function live(state) {
  indicator.hidden = false;
  indicator.className = state === "live" ? "live on" : "live off";
  if (indicator.textContent !== STATES[state]) indicator.textContent = STATES[state];
}

/** Shows the page that the address names. */
function show() {
  leave();
  leave = () => {};
  main.replaceChildren();
  const signedIn = token != null;
  out.hidden = who.hidden = pages.hidden = !signedIn;
  indicator.hidden = true;
  if (!signedIn) return signInPage();
  who.replaceChildren(foreign(token.name), ` (${token.roles.join(", ")})`);
  const id = named();
  if (!token.roles.includes("read")) main.append(h("h1", { tabindex: "-1" }, "No access"), h("p", { class: "notice" }, "Your token does not have the role read, which the dashboard requires."));
  else if (id != null) leave = device(main, token, live, id);
  else if (location.hash === "#/claims") leave = claims(main, token, live);
  else leave = fleet(main, token, live);
  const title = id ?? (location.hash === "#/claims" ? "Claims" : "Fleet");
  for (const link of pages.querySelectorAll("a")) {
    if (link.textContent === title) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} – Fedecks`;
  main.querySelector("h1").focus();
}

/** The device that the address names. */
function named() {
  const match = /^#\/devices\/([^/]+)$/.exec(location.hash);
  if (match == null) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

function signInPage() {
  document.title = "Sign in – Fedecks";
  const field = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "problem hint" });
  const problem = h("p", { class: "error", id: "problem", role: "alert" });
  const button = h("button", {}, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await signIn(field.value.trim());
      await enter();
    } catch (error) {
      field.value = "";
      problem.textContent = error.message;
      field.setAttribute("aria-invalid", "true");
      button.disabled = false;
      field.focus();
    }
  };
  main.append(
    h(
      "form",
      { class: "card sign-in", onsubmit: submit },
      h("h1", {}, "Sign in"),
      notice == null ? null : h("p", { class: "notice" }, notice),
      h("div", { class: "field" }, h("label", { for: "token" }, "API token"), field, problem),
      h("p", { class: "soft", id: "hint" }, "Created on the server with ", h("code", {}, "fedecks-cloud token add"), "."),
      button,
    ),
  );
  field.focus();
}

async function enter() {
  token = await call("GET", "/token");
  notice = null;
  show();
}

function onSessionEnded() {
  if (token == null) return;
  token = null;
  notice = "The session has ended. Sign in again.";
  show();
}

session.ended = onSessionEnded;
out.addEventListener("click", async () => {
  await signOut().catch(() => {});
  token = null;
  location.hash = "";
  show();
});
// Moves the focus, and keeps the address, which names the page.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", show);

async function start() {
  try {
    if (await resume()) await enter();
    else show();
  } catch (error) {
    main.replaceChildren(h("p", { class: "error", role: "alert" }, error.message));
  }
}

start();
