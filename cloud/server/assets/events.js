// Follows the server's events: one stream of each page, as long as the page is visible.

import { exact, resume, session } from "./api.js";

/** How often a quiet stream says that it is alive, in seconds. */
const HEARTBEAT = 15;

/** How long a stream may be silent until it counts as dead, in milliseconds. */
const SILENCE = 25000;

/** The same after repeated silence, which may be a large event on a slow link. */
const LONGEST_SILENCE = 300000;

/**
 * How many pages of one browser follow events at a time. Browsers open six connections to a server, of which each
 * stream takes one.
 */
const STREAMS = 4;

const KINDS = [
  "connected", "disconnected", "message", "raw-message", "sent", "raw-sent", "message-settled", "refused",
  "revoked", "blocked", "unblocked", "gap",
];

/**
 * Follows events. `heard(event)` receives each of them, including `gap` events; `changed(state)` is called with
 * `live`, `reconnecting`, or `paused`, if other pages were used later than this one. Returns a function that
 * ends it.
 */
export function follow(parameters, heard, changed) {
  let source = null;
  let last = null;
  let wait = 1000;
  let again;
  let silence = SILENCE;
  let alive;
  let isPaused = false;

  const open = () => {
    close();
    const query = new URLSearchParams(parameters);
    query.set("heartbeat", HEARTBEAT);
    if (last != null) query.set("after", last);
    source = new EventSource(`/api/v1/events?${query}`);
    alive = now();
    source.onopen = () => {
      alive = now();
      wait = 1000;
      changed("live");
    };
    source.onerror = onError;
    for (const kind of KINDS) {
      source.addEventListener(kind, (message) => {
        onAlive(message);
        heard(JSON.parse(message.data, exact));
      });
    }
    source.addEventListener("heartbeat", onAlive);
  };
  const onAlive = (message) => {
    last = message.lastEventId;
    alive = now();
    silence = SILENCE;
  };
  const onError = async () => {
    changed("reconnecting");
    if (source?.readyState !== EventSource.CLOSED) return;
    // The browser does not retry if the answer is not a stream: the session may have ended.
    const closed = source;
    const stay = await resume().catch(() => true);
    if (closed !== source) return;
    if (!stay) return session.ended();
    again = setTimeout(open, wait);
    wait = Math.min(wait * 2, 30000);
  };
  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };

  // A network that is gone, a server that hangs and a computer that slept close nothing.
  const watch = setInterval(() => {
    if (source == null || since(alive) < silence) return;
    silence = Math.min(silence * 2, LONGEST_SILENCE);
    changed("reconnecting");
    open();
  }, 1000);

  /** Follows before other pages do. */
  const claim = () => {
    isPaused = false;
    pages.opened();
    open();
  };
  const onPages = () => {
    if (source != null && pages.later() >= STREAMS) {
      close();
      isPaused = true;
      pages.closed();
      changed("paused");
    } else if (isPaused && pages.later() < STREAMS) {
      // Not all that wait at the same time.
      setTimeout(() => isPaused && pages.later() < STREAMS && claim(), Math.random() * 1000);
    }
  };
  const onUsed = () => isPaused && claim();
  const onVisible = () => (document.hidden ? hide() : claim());
  const hide = () => {
    isPaused = false;
    close();
    pages.closed();
    changed("reconnecting");
  };
  const onShow = (event) => event.persisted && !document.hidden && claim();

  const listeners = [
    [document, "visibilitychange", onVisible], [window, "pagehide", hide], [window, "pageshow", onShow],
    [window, "focus", onUsed], [window, "pointerdown", onUsed], [window, "keydown", onUsed],
  ];
  for (const [target, name, listener] of listeners) target.addEventListener(name, listener);
  const pages = new Pages(onPages);
  if (!document.hidden) claim();
  return () => {
    for (const [target, name, listener] of listeners) target.removeEventListener(name, listener);
    clearInterval(watch);
    isPaused = false;
    close();
    pages.end();
  };
}

/** The pages of this browser that began to follow events later than this one. */
class Pages {
  #name = `${Math.random()}`;
  #later = new Set();
  #channel = new BroadcastChannel("fedecks-pages");

  /** `changed` is called when `later` changes. */
  constructor(changed) {
    this.#channel.onmessage = ({ data: { opened, closed } }) => {
      if (opened != null) this.#later.add(opened);
      else this.#later.delete(closed);
      changed();
    };
  }

  /** This page begins to follow. */
  opened() {
    this.#later.clear();
    this.#channel.postMessage({ opened: this.#name });
  }

  closed() {
    this.#channel.postMessage({ closed: this.#name });
  }

  /** How many there are. */
  later() {
    return this.#later.size;
  }

  end() {
    this.closed();
    this.#channel.close();
  }
}

/** A time on both clocks: one may not count while the computer sleeps, the other may be set. */
function now() {
  return { wall: Date.now(), steady: performance.now() };
}

/** The milliseconds since then, by the clock that shows more. */
function since(then) {
  return Math.max(Date.now() - then.wall, performance.now() - then.steady);
}
