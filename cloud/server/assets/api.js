// The client of the server's API, authenticated by the session's cookie.

let csrf = null;

/** A failed request. */
export class Problem extends Error {
  constructor(status, code, text) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

/** `ended` is called when the session turns out to have ended. */
export const session = { ended: () => {} };

/** Resolves to whether there is a session. */
export async function resume() {
  const answer = await ask("GET", "/session");
  csrf = answer?.csrf ?? null;
  return csrf != null;
}

export async function signIn(token) {
  csrf = (await ask("POST", "/session", { token })).csrf;
}

export async function signOut() {
  await ask("DELETE", "/session");
  csrf = null;
}

/** Calls the API. `path` is below /api/v1. */
export async function call(method, path, body) {
  try {
    return await ask(method, `/api/v1${path}`, body);
  } catch (problem) {
    if (problem.status === 401) session.ended();
    throw problem;
  }
}

/** Sends JSON as the user wrote it, so that large numbers keep their value. In `literal` JSON no key is an escape. */
export async function sendText(device, json, literal, keep) {
  return call("POST", `${devicePath(device)}/messages?literal=${literal}&keep=${keep}`, new Blob([json], { type: "application/json" }));
}

/** Asks the device in the same way. */
export async function askText(device, json, literal) {
  return call("POST", `${devicePath(device)}/requests?literal=${literal}`, new Blob([json], { type: "application/json" }));
}

export function devicePath(device) {
  return `/devices/${encodeURIComponent(device)}`;
}

async function ask(method, path, body) {
  const headers = {};
  if (csrf != null && method !== "GET") headers["x-csrf-token"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  if (body !== undefined && !(body instanceof Blob)) body = JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, credentials: "same-origin" });
  } catch {
    throw new Problem(0, "unreachable", "Cannot reach the server.");
  }
  const text = await answer.text();
  const json = text === "" ? null : parsed(text);
  if (answer.ok) return json;
  throw new Problem(answer.status, json?.code, described(answer.status, json));
}

function described(status, problem) {
  if (problem == null) return `The server answered ${status}.`;
  if (problem.code !== "unauthorized") return `${problem.title}: ${problem.detail}`;
  return `${problem.detail[0].toUpperCase()}${problem.detail.slice(1)}.`;
}

function parsed(text) {
  try {
    return JSON.parse(text, exact);
  } catch {
    return null;
  }
}

/** Keeps integers that exceed the precision of JavaScript numbers, where the browser supports it. */
export function exact(_, value, context) {
  const big = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return big && context?.source != null && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}
