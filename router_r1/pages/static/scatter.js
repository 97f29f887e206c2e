// EM against cost: a point for each method, the Pareto front as steps between those on it, the best constant dashed.
import { html } from "./ui.js";
import { short } from "./format.js";
import { ticks } from "./chart.js";

const WIDTH = 1000, HEIGHT = 420, LEFT = 52, RIGHT = 120, TOP = 16, BOTTOM = 42;

export function Scatter({ rows, hulls, marked, onMark }) {
  const corners = hulls.flatMap((hull) => hull.corners);
  const costs = [...rows.map((row) => row.values.raw_cost), ...corners.map(([cost]) => cost)];
  const ems = [...rows.map((row) => row.values.em), ...corners.map(([, em]) => em)];
  const most = Math.max(...costs, 1e-9) * 1.05, best = Math.min(1, Math.max(...ems, 0.01) * 1.08);
  // Costs of methods lie orders of magnitude apart, and asking nobody costs nothing: the root keeps both in sight.
  const x = (cost) => LEFT + Math.sqrt(cost / most) * (WIDTH - RIGHT - LEFT);
  const y = (em) => HEIGHT - BOTTOM - (em / best) * (HEIGHT - BOTTOM - TOP);
  const front = rows.filter((row) => row.on_front).sort((a, b) => a.values.raw_cost - b.values.raw_cost);
  const path = front.map(({ values }, i) => `${i ? `H${x(values.raw_cost).toFixed(1)}V` : `M${x(values.raw_cost).toFixed(1)},`}${y(values.em).toFixed(1)}`).join("");
  const xTicks = [0, 0.02, 0.1, 0.25, 0.5, 1].map((part) => roundedDown(part * most));
  const told = front.map(({ name, values }) => `${name}, EM ${values.em.toFixed(3)} at ${short(values.raw_cost)}`).join("; ");
  return html`
    <svg class="scatter" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${`EM against raw cost. On the Pareto front: ${told}`}>
      ${ticks(0, best).map((tick) => html`
        <line class="grid" x1=${LEFT} x2=${WIDTH - RIGHT} y1=${y(tick)} y2=${y(tick)} />
        <text class="tick" x=${LEFT - 8} y=${y(tick) + 4} text-anchor="end">${short(tick)}</text>
      `)}
      ${xTicks.map((tick) => html`<text class="tick" x=${x(tick)} y=${HEIGHT - 22} text-anchor="middle">${short(tick)}</text>`)}
      <text class="tick" x=${(WIDTH - RIGHT + LEFT) / 2} y=${HEIGHT - 4} text-anchor="middle">raw cost per question (micro-USD of output, root scale)</text>
      ${hulls.map(({ of, corners }) => html`
        <path class="constant" d=${straight(corners, most, x, y)}><title>${`Best constant, on the questions of ${of.join(", ")}`}</title></path>
      `)}
      <path class="front" d=${path ? `${path}H${x(most).toFixed(1)}` : ""} />
      ${[...rows.filter((row) => !row.on_front), ...front].map((row) => html`
        <circle key=${row.name} class=${`point ${row.on_front ? "best" : ""} ${row.name === marked ? "marked" : ""}`} r=${row.name === marked ? 8 : 6}
          cx=${x(row.values.raw_cost)} cy=${y(row.values.em)} onMouseEnter=${() => onMark(row.name)} onMouseLeave=${() => onMark(null)}>
          <title>${`${row.name}: EM ${row.values.em.toFixed(3)}, raw cost ${short(row.values.raw_cost)}`}</title>
        </circle>
      `)}
      ${labelled(front, x, y).map(({ name, left, top }) => html`<text class="name" x=${left} y=${top}>${name}</text>`)}
    </svg>
  `;
}

/** To one digit, so that a tick at the end of the axis does not lie beyond it. */
function roundedDown(value) {
  const unit = 10 ** Math.floor(Math.log10(value || 1));
  return Number((Math.floor(value / unit) * unit).toPrecision(1));
}

/** A line that is straight in cost and EM, as mixing two constants is; on a root scale it bends, so it is drawn in pieces. */
function straight(corners, most, x, y) {
  const ends = [...corners, [most, corners.at(-1)[1]]];
  const pieces = ends.slice(1).flatMap(([cost, em], i) => {
    const [from, low] = ends[i];
    return Array.from({ length: 24 }, (_, k) => ((k + 1) / 24)).map((part) => [from + part * (cost - from), low + part * (em - low)]);
  });
  return [ends[0], ...pieces].map(([cost, em], i) => `${i ? "L" : "M"}${x(cost).toFixed(1)},${y(em).toFixed(1)}`).join("");
}

/** Names of the points on the front, moved down where two would cover each other. */
function labelled(front, x, y) {
  const placed = [];
  for (const { name, values } of [...front].reverse()) {
    const left = x(values.raw_cost) + 10;
    let top = y(values.em) - 8;
    while (placed.some((other) => Math.abs(other.top - top) < 15 && other.left - left < name.length * 7.5)) top += 15;
    placed.push({ name: name.split("/").at(-1), left, top });
  }
  return placed;
}
