// A field for JSON, which says what is wrong with it.

import { h } from "./page.js";

/**
 * A field with this id. `submit` is called on Ctrl+Enter. `isValid` says whether the text is JSON, and shows why not;
 * `refuse` shows another error.
 */
export function editor(id, label, hint, enabled, submit) {
  const box = h("textarea", { id, spellcheck: "false", autocomplete: "off", disabled: !enabled, "aria-describedby": `${id}-problem ${id}-hint` });
  const problem = h("p", { class: "error", id: `${id}-problem`, role: "alert" });
  /** Typing only hides an error; `complain` shows it. */
  const check = (complain) => {
    let wrong = "";
    try {
      JSON.parse(box.value);
    } catch (error) {
      wrong = box.value.trim() === "" ? "Expected JSON." : `Not valid JSON: ${error.message}`;
    }
    if (complain || wrong === "") {
      problem.textContent = wrong;
      box.setAttribute("aria-invalid", wrong !== "");
    }
    return wrong === "";
  };
  box.addEventListener("input", () => check(false));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      submit();
    }
  });
  return {
    field: h("div", { class: "field" }, h("label", { for: id }, label), box, problem, h("p", { class: "soft", id: `${id}-hint` }, hint)),
    text: () => box.value,
    isValid: () => {
      const valid = check(true);
      if (!valid) box.focus();
      return valid;
    },
    refuse: (text) => (problem.textContent = text),
  };
}
