// The box that asks a device a question, and shows its answer.

import { askText } from "./api.js";
import { editor } from "./editor.js";
import { announce, h, lacks, shownJson } from "./page.js";

/** The form for questions to a device, for those who may ask. */
export function question(id, may) {
  const ask = h("button", { disabled: !may }, "Ask");
  const literal = h("input", { id: "literal-question", type: "checkbox", disabled: !may });
  const answer = h("pre", { class: "answer", id: "answer", tabindex: "0", "aria-label": "Answer of the device" });
  const waiting = h("p", { class: "soft", hidden: true }, "Waiting for the answer, for up to 30 s…");
  const submit = async () => {
    if (ask.disabled || !json.isValid()) return;
    ask.disabled = true;
    answer.hidden = true;
    waiting.hidden = false;
    try {
      const { reply } = await askText(id, json.text(), literal.checked);
      answer.textContent = shownJson(reply);
      answer.hidden = false;
      announce("The device has answered");
    } catch (error) {
      json.refuse(error.message);
    }
    waiting.hidden = true;
    ask.disabled = !may;
  };
  const json = editor("question", "Question, in JSON", "It is sent once, to a program on the device that answers questions.", may, submit);
  answer.hidden = true;
  return h(
    "form",
    { class: "card", "aria-labelledby": "ask-title", onsubmit: (event) => { event.preventDefault(); submit(); } },
    h("h2", { id: "ask-title" }, "Ask a question"),
    json.field,
    may ? null : lacks("send"),
    h("div", { class: "row" }, ask, h("label", { for: "literal-question" }, literal, " Keys with $ are data, not escapes")),
    waiting,
    answer,
  );
}
