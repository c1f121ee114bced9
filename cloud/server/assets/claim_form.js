// The form that makes claims, and their secrets, which are shown once.

import { call } from "./api.js";
import { announce, h } from "./page.js";

const DAY = 24 * 3600 * 1000;

const COLUMNS = ["id", "secret", "devices", "uses", "expires", "label", "qr"];

/** The form, for those who may. `made` is called when there are new claims. */
export function claimForm(may, made) {
  const input = (id, properties) => h("input", { id, autocomplete: "off", spellcheck: "false", disabled: !may, ...properties });
  const devices = input("devices", { required: true, maxlength: "128", placeholder: "site-a-*", "aria-describedby": "devices-hint" });
  const count = input("count", { type: "number", min: "1", max: "10000", value: "1", required: true });
  const uses = input("uses", { type: "number", min: "1", max: "1000000", value: "1", required: true });
  const days = input("days", { type: "number", min: "1", max: "36500", placeholder: "never" });
  const label = input("new-label", { maxlength: "128" });
  const note = input("note", { maxlength: "128" });
  const approval = h("input", { id: "approval", type: "checkbox", disabled: !may });
  const problem = h("p", { class: "error", role: "alert" });
  const button = h("button", { disabled: !may }, "Make claims");
  const secrets = h("textarea", { id: "secrets", readonly: true, spellcheck: "false", "aria-describedby": "secrets-hint" });
  const download = h("a", { download: "claims.csv" }, "Download as CSV");
  const result = h(
    "div",
    { class: "field", hidden: true },
    h("label", { for: "secrets" }, "New claims"),
    secrets,
    h("p", { class: "soft", id: "secrets-hint" }, "The secrets cannot be shown again."),
    h("p", {}, download),
  );
  const field = (name, element, hint) => h("div", { class: "field" }, h("label", { for: element.id }, name), element, hint);

  const submit = async (event) => {
    event.preventDefault();
    problem.textContent = "";
    button.disabled = true;
    const text = (element) => element.value.trim() || null;
    const order = {
      devices: devices.value.trim(),
      count: Number(count.value),
      uses: Number(uses.value),
      expires: days.value === "" ? null : new Date(Date.now() + Number(days.value) * DAY).toISOString(),
      label: text(label),
      note: text(note),
      approval: approval.checked,
    };
    try {
      show((await call("POST", "/claims", order)).claims);
      made();
    } catch (error) {
      problem.textContent = error.message;
    }
    button.disabled = !may;
  };
  const show = (claims) => {
    secrets.value = claims.map((claim) => claim.secret).join("\n");
    const lines = [COLUMNS, ...claims.map((claim) => COLUMNS.map((column) => claim[column] ?? ""))];
    const csv = lines.map((line) => `${line.map(quoted).join(",")}\n`).join("");
    if (download.href) URL.revokeObjectURL(download.href);
    download.href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
    result.hidden = false;
    secrets.focus();
    announce(claims.length === 1 ? "1 claim made" : `${claims.length} claims made`);
  };
  const section = h(
    "form",
    { class: "card", "aria-labelledby": "make", onsubmit: submit },
    h("h2", { id: "make" }, "Make claims"),
    field("Devices", devices, h("p", { class: "soft", id: "devices-hint" }, "The id that a claim registers, or a pattern in which each * stands for any characters.")),
    h("div", { class: "row" }, field("Number of claims", count), field("Devices for each claim", uses), field("Days until they expire", days)),
    h("div", { class: "row" }, field("Label of the devices", label), field("Note", note)),
    h("div", { class: "row" }, h("label", { for: "approval" }, approval, " Each device waits for an approval")),
    problem,
    h("div", { class: "row" }, button),
    result,
  );
  return { section };
}

function quoted(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
