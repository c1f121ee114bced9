// What the pages are made of. Text of others is only ever set as text, never as HTML.

/** An element. `properties` are attributes; those that begin with `on` are listeners. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same of an SVG. */
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

let announced;

/** Has screen readers say something. What comes within a second replaces what was to be said. */
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

/** Asks before something is done; resolves to whether it is to be done. */
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

/** Calls `work` at most once in so many milliseconds, and always once more after the last call. */
export function throttled(milliseconds, work) {
  let waiting;
  return () => {
    waiting ??= setTimeout(() => {
      waiting = undefined;
      work();
    }, milliseconds);
  };
}

/** Calls `work` so many milliseconds after something happened, and again when the store knows of it too. */
export function afterwards(milliseconds, work) {
  const soon = throttled(milliseconds, work);
  const later = throttled(milliseconds + 2000, work);
  return () => {
    soon();
    later();
  };
}
