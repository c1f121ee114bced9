// What the pages are built with. Text from devices and users is only set as text, never as HTML.

/** An HTML element. `properties` are attributes, or listeners if they begin with `on`. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An SVG element, in the same way. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/**
 * Text that was written elsewhere: by devices, by the users of the API. What it says about the direction of
 * writing ends with it.
 */
export function foreign(text) {
  return h("bdi", {}, text);
}

/** A notice that the token lacks a role. */
export function lacks(role) {
  return h("p", { class: "notice" }, `Your token does not have the role ${role}.`);
}

/** How many characters of a message a page shows. */
const SHOWN_OF_MESSAGE = 4000;

/** A message, shortened, in which nothing is invisible or changes the order of what is shown. Its value stays the same. */
export function shownJson(value) {
  return shortened(escaped(JSON.stringify(value, null, 1)));
}

/** A text of a message in the same way. */
export function shownText(text) {
  return shortened(escaped(text));
}

function escaped(text) {
  const escape = (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return text.replace(/[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, escape);
}

function shortened(text) {
  if (text.length <= SHOWN_OF_MESSAGE) return text;
  return `${text.slice(0, SHOWN_OF_MESSAGE)}… (${text.length} characters)`;
}

let announced;

/** Announces a text to screen readers. A text within a second replaces the one before. */
export function announce(text) {
  clearTimeout(announced);
  announced = setTimeout(() => (document.getElementById("announcer").textContent = text), 1000);
}

export function time(text) {
  if (text == null) return "–";
  const at = new Date(text);
  return h("time", { datetime: text, title: text }, at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }));
}

export function state(device) {
  const word = device.blocked ? "blocked" : device.connected ? "connected" : "offline";
  return h("span", { class: `state ${word}` }, word);
}

/** Asks for confirmation. Resolves to whether it was given. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        h("p", { id: "dialog-text" }, text),
        h(
          "div",
          { class: "row" },
          h("button", { class: "quiet", value: "no", autofocus: true }, "Cancel"),
          h("button", { class: "danger", value: "yes" }, action),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Calls `work` at most once per `milliseconds`, and always once after the last call. */
export function throttled(milliseconds, work) {
  let waiting;
  return () => {
    waiting ??= setTimeout(() => {
      waiting = undefined;
      work();
    }, milliseconds);
  };
}

/** Calls `work` `milliseconds` after a change, and again when it has reached the store. */
export function afterwards(milliseconds, work) {
  const soon = throttled(milliseconds, work);
  const later = throttled(milliseconds + 2000, work);
  return () => {
    soon();
    later();
  };
}
