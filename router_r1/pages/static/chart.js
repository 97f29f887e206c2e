// Curves over training steps as SVG: drawn from plain numbers, coloured by the style sheet, read by a screen reader as a
// sentence. A line has at most a few hundred points: a screen shows no more.
import { html, useRef, useState } from "./ui.js";
import { short } from "./format.js";

const WIDTH = 520, HEIGHT = 220;
const LEFT = 48, RIGHT = 12, TOP = 10, BOTTOM = 26;
const MOST_POINTS = 400;

/** Round values that divide a range into about `count` parts. */
export function ticks(low, high, count = 4) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Every n-th point, and the last. */
export function thinned(points) {
  const every = Math.ceil(points.length / MOST_POINTS);
  return every > 1 ? points.filter((_, i) => i % every === 0 || i === points.length - 1) : points;
}

function scale([low, high], from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function extent(values, margin) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const pad = (high - low || Math.abs(high) || 1) * margin;
  return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}

function Axes({ x, y, xTicks, yTicks, xName }) {
  return html`
    ${yTicks.map((tick) => html`
      <line class="grid" x1=${LEFT} x2=${WIDTH - RIGHT} y1=${y(tick)} y2=${y(tick)} />
      <text class="tick" x=${LEFT - 7} y=${y(tick) + 4} text-anchor="end">${short(tick)}</text>
    `)}
    ${xTicks.map((tick) => html`<text class="tick" x=${x(tick)} y=${HEIGHT - 9} text-anchor="middle">${short(tick)}</text>`)}
    <text class="tick" x=${WIDTH - RIGHT} y=${HEIGHT - 9} text-anchor="end">${xName}</text>
  `;
}

/**
 * Lines over steps, with the values at the pointer.
 *
 * `lines`: `{name, points: [[step, value]], place, isDotted}`; the place is the line's look, the same for a run everywhere.
 */
export function LineChart({ title, lines, note = "" }) {
  const drawn = lines.map((line) => ({ ...line, points: thinned(line.points.filter(([, value]) => value !== null && value !== undefined)) }))
    .filter((line) => line.points.length);
  const xs = extent(drawn.flatMap((line) => line.points.map(([step]) => step)), 0);
  const ys = extent(drawn.flatMap((line) => line.points.map(([, value]) => value)), 0.08);
  const x = scale(xs, LEFT, WIDTH - RIGHT), y = scale(ys, HEIGHT - BOTTOM, TOP);
  const [step, onPointer] = usePointer(xs);
  const told = drawn.map((line) => `${line.name} ${short(line.points.at(-1)[1])} at step ${line.points.at(-1)[0]}`).join("; ");
  return html`
    <figure class="card chart">
      <figcaption><h3>${title}</h3>${note && html`<span class="hint">${note}</span>`}</figcaption>
      ${drawn.length
        ? html`
            <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${`${title}: ${told}`} ...${onPointer}>
              <${Axes} x=${x} y=${y} xTicks=${ticks(...xs, 6).filter((t) => x(t) < WIDTH - 60)} yTicks=${ticks(...ys)} xName="step" />
              ${drawn.map(({ points, place, isDotted }) => html`
                <g class=${`line-${place % 6} ${isDotted ? "dotted" : ""}`}>
                  <polyline points=${points.map(([s, v]) => `${x(s).toFixed(1)},${y(v).toFixed(1)}`).join(" ")} />
                  ${(isDotted || points.length === 1) && points.map(([s, v]) => html`<circle cx=${x(s)} cy=${y(v)} r="3" />`)}
                </g>
              `)}
              ${step !== null && html`<line class="pointer" x1=${x(step)} x2=${x(step)} y1=${TOP} y2=${HEIGHT - BOTTOM} />`}
            </svg>
            <p class="readout" aria-hidden="true">
              ${step === null ? "" : html`step ${step}${drawn.map((line) => {
                const at = line.points.find(([s]) => s === step);
                return at ? html` · ${drawn.length > 1 ? `${line.name} ` : ""}<b>${short(at[1])}</b>` : "";
              })}`}
            </p>
          `
        : html`<p class="hint">Nothing logged yet.</p>`}
    </figure>
  `;
}

/** The step under the pointer, or null; and what to put on the picture for it. */
function usePointer([low, high]) {
  const [step, setStep] = useState(null);
  const frame = useRef(0);
  const move = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() =>
      setStep(at < LEFT ? null : Math.round(low + ((at - LEFT) / (WIDTH - RIGHT - LEFT)) * (high - low))),
    );
  };
  return [step, { onPointerMove: move, onPointerLeave: () => setStep(null) }];
}

/**
 * Parts of a whole over steps, one on top of the other, the largest at the bottom.
 *
 * `parts`: names, in that order; `rows`: `{step, values: {name: value}}`; `look`: name -> style; `most`: the whole.
 */
export function AreaChart({ title, parts, rows, look, Name, most = null, unit = "" }) {
  const shown = thinned(rows);
  const tops = shown.map(({ values }) => {
    let sum = 0;
    return parts.map((name) => (sum += values[name] ?? 0));
  });
  const xs = extent(shown.map(({ step }) => step), 0);
  const ys = [0, most ?? Math.max(1e-9, ...tops.map((sums) => sums.at(-1) ?? 0)) * 1.05];
  const x = scale(xs, LEFT, WIDTH - RIGHT), y = scale(ys, HEIGHT - BOTTOM, TOP);
  const area = (index) => {
    const point = (row, value) => `${x(shown[row].step).toFixed(1)},${y(value).toFixed(1)}`;
    const top = shown.map((_, row) => point(row, tops[row][index]));
    const bottom = shown.map((_, row) => point(row, index ? tops[row][index - 1] : 0)).reverse();
    return [...top, ...bottom].join(" ");
  };
  const last = shown.at(-1);
  const told = last ? parts.map((name) => `${name} ${short(last.values[name] ?? 0)}`).join(", ") : "";
  return html`
    <figure class="card chart">
      <figcaption><h3>${title}</h3></figcaption>
      ${shown.length
        ? html`
            <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${`${title}, at step ${last.step}: ${told}`}>
              <${Axes} x=${x} y=${y} xTicks=${ticks(...xs, 6).filter((t) => x(t) < WIDTH - 60)} yTicks=${ticks(...ys)} xName="step" />
              ${parts.map((name, index) => html`<polygon class="area" style=${look(name)} points=${area(index)} />`)}
            </svg>
            <ul class="legend">
              ${parts.map((name) => html`<li><${Name} name=${name} /> <b>${short(last.values[name] ?? 0)}${unit}</b></li>`)}
            </ul>
          `
        : html`<p class="hint">Nothing logged yet.</p>`}
    </figure>
  `;
}
