// The chart of the last 24 hours.

import { h, svg } from "./page.js";

const HEIGHT = 190;
const LEFT = 44;
const BOTTOM = 24;
const TOP = 10;

/** The maximum number of points. A point is the sum of several minutes if there are more. */
const POINTS = 120;

/** Connects and refusals over time, as a picture of this width with a legend. */
export function chart(history, room) {
  const width = Math.max(260, room);
  const minutes = history.connects.length;
  const each = Math.max(1, Math.ceil(minutes / POINTS));
  const sums = (counts) => {
    const points = [];
    // Counted from the end, so that only the first point may be incomplete.
    for (let end = counts.length; end > 0; end -= each) {
      points.unshift(counts.slice(Math.max(0, end - each), end).reduce((sum, one) => sum + one, 0));
    }
    return points;
  };
  const connects = sums(history.connects);
  const refusals = sums(history.refusals);
  const most = nice(Math.max(4, ...connects, ...refusals));
  const x = (index) => LEFT + ((width - LEFT - 8) * index) / Math.max(1, connects.length - 1);
  const y = (count) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - count / most);
  const line = (points) => {
    if (points.length === 1) return `M${LEFT} ${y(points[0])}H${width - 8}`;
    return points.map((count, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(count).toFixed(1)}`).join("");
  };
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
  for (const part of [0, 0.5, 1]) {
    const at = y(most * part);
    picture.append(
      svg("line", { class: "grid", x1: LEFT, x2: width - 8, y1: at, y2: at }),
      svg("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, String(most * part)),
    );
  }
  const began = Date.now() - minutes * 60000;
  const clock = (at) => new Date(at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  picture.append(
    svg("text", { x: LEFT, y: HEIGHT - 6 }, clock(began)),
    svg("text", { x: width - 8, y: HEIGHT - 6, "text-anchor": "end" }, "now"),
    svg("path", { class: "connects", d: line(connects) }),
    svg("path", { class: "refusals", d: line(refusals) }),
  );
  const all = (counts) => counts.reduce((sum, one) => sum + one, 0);
  const long = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
  const per = each === 1 ? "per minute" : `per ${each} minutes`;
  return h(
    "div",
    {},
    h(
      "ul",
      { class: "keys" },
      h("li", { class: "connects" }, `Connects ${per} (${all(history.connects)} in ${long})`),
      h("li", { class: "refusals" }, `Refusals ${per} (${all(history.refusals)} in ${long})`),
    ),
    picture,
  );
}

/** The next number of the form 2, 4 or 10 times a power of ten. */
function nice(count) {
  let power = 1;
  for (;;) {
    for (const step of [2, 4, 10]) if (step * power >= count) return step * power;
    power *= 10;
  }
}
