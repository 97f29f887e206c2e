// Ask: one question, to one model or to two side by side, watched while the answer grows.
import { html, useEffect, useRef, useState } from "./ui.js";
import { Clock } from "./clock.js";
import { count, short, usd } from "./format.js";
import { ask, costOf } from "./growing.js";
import { post } from "./server.js";
import { Blocks } from "./transcript_view.js";

const EXAMPLE = "Who composed the one who invented Bosen?";

export function Ask({ about }) {
  const [question, setQuestion] = useState("");
  const [sides, setSides] = useState(() => [newSide(about)]);
  const [asked, setAsked] = useState(null);
  const running = useRef([]);

  useEffect(() => () => running.current.forEach((one) => one.abort()), []);
  const change = (index, changes) =>
    setSides((all) => all.map((side, i) => (i === index ? { ...side, ...changes } : side)));
  const isRunning = sides.some(({ state }) => state && !state.endedAt);

  const send = (event) => {
    event?.preventDefault();
    const text = question.trim() || EXAMPLE;
    if (isRunning) return;
    setQuestion(text);
    setAsked(text);
    running.current = sides.map((side, index) => {
      const controller = new AbortController();
      ask({ model: modelOf(about, side), question: text }, (state) => change(index, { state, vote: null }), controller.signal);
      return controller;
    });
  };
  const stop = () => running.current.forEach((one) => one.abort());
  const onKey = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  };

  return html`
    <h1 class="unseen">Ask</h1>
    <form class="ask card" onSubmit=${send}>
      <label class="unseen" for="question">Question</label>
      <textarea id="question" rows="2" placeholder=${EXAMPLE} value=${question} autofocus
        onInput=${(event) => setQuestion(event.target.value)} onKeyDown=${onKey}></textarea>
      <div class="bar">
        <label class="check">
          <input type="checkbox" checked=${sides.length === 2} disabled=${isRunning}
            onChange=${(event) => setSides(event.target.checked ? [sides[0], newSide(about, 1)] : [sides[0]])} />
          Two models side by side
        </label>
        ${/* Two elements: one that changed its type while it is clicked would send the question again. */
        isRunning
          ? html`<button key="stop" type="button" class="primary" onClick=${stop}>Stop</button>`
          : html`<button key="ask" class="primary">Ask</button>`}
      </div>
    </form>
    <div class=${`sides of-${sides.length}`}>
      ${sides.map((side, index) => html`
        <${Side} about=${about} side=${side} number=${sides.length > 1 ? index + 1 : null} isRunning=${isRunning}
          asked=${asked} onChange=${(changes) => change(index, changes)} />
      `)}
    </div>
  `;
}

function newSide({ asking }, place = 0) {
  const second = asking.models.find(({ name }) => name === "largest") ?? asking.models.at(-1);
  return { model: (place ? second : asking.models[0]).name, weight: asking.cost_weight, state: null, vote: null };
}

const followsCost = ({ asking }, name) => asking.models.find((model) => model.name === name).follows_cost;

/** As the API takes it: the server's own weight is not named. */
const modelOf = (about, { model, weight }) =>
  followsCost(about, model) && weight !== about.asking.cost_weight ? `${model}@${weight}` : model;

function Side({ about, side, number, asked, isRunning, onChange }) {
  const { state } = side;
  const name = number ? `Model ${number}` : "Model";
  return html`
    <section class="card side" aria-label=${number ? `Answer of ${side.model}` : "Answer"}>
      <div class="side-head">
        <label>${name}
          <select value=${side.model} disabled=${isRunning} onChange=${(event) => onChange({ model: event.target.value })}>
            ${about.asking.models.map((model) => html`<option value=${model.name}>${model.name}</option>`)}
          </select>
        </label>
        ${followsCost(about, side.model) && html`
          <label class="weight">Cost weight <b>${side.weight}</b>
            <input type="range" min="0" max="1" step="0.05" value=${side.weight} disabled=${isRunning}
              onInput=${(event) => onChange({ weight: Number(event.target.value) })} />
          </label>
        `}
      </div>
      ${state
        ? html`<${Growing} state=${state} />
            ${state.phase === "ended" && about.asking.takes_feedback && html`<${Feedback} side=${side} onChange=${onChange} />`}`
        : html`<p class="hint">Thoughts, routes and the answer appear here as they come. Press Enter to ask.</p>`}
    </section>
  `;
}

const PHASES = {
  waiting: "waiting",
  writing: "thinking",
  asking: "asking a candidate",
  ended: "done",
  stopped: "stopped",
  failed: "failed",
};

function Growing({ state }) {
  const cost = costOf(state);
  const isUnanswered = state.ended && state.ended.status !== "answered";
  const status = isUnanswered ? state.ended.status.replace("_", " ") : PHASES[state.phase];
  return html`
    <div class="totals">
      <span class=${`phase ${isUnanswered ? "failed" : state.phase}`}>${status}</span>
      <${Clock} from=${state.startedAt} to=${state.endedAt} />
      <span><b>${count(state.routes.length, "route")}</b></span>
      <span title="Raw cost: micro-USD of output, what the reward sees">raw cost <b class="raw-cost">${short(cost.rawCost)}</b></span>
      <span title="What was paid, prompts included">spent <b>${usd(cost.usd)}</b></span>
    </div>
    <${Blocks} state=${state} />
    ${state.answer && html`<div class="answer"><span class="tag">answer</span><p>${state.answer}</p></div>`}
    ${state.phase === "failed" && html`<p class="fault" role="alert">${state.fault}</p>`}
    ${state.phase === "ended" && !state.answer && html`<p class="fault">No answer: ${state.ended.status.replace("_", " ")}.</p>`}
    <p class="unseen" role="status">${state.endedAt ? `${status}. ${state.answer}` : ""}</p>
  `;
}

const THUMBS = { up: "Right", down: "Wrong" };
const THUMB = "M2.5 9h3v8h-3zM5.5 9.5 9 2.5c1.7 0 2.4 1.2 2.1 2.7L10.6 8h5c1.3 0 2.1 1.2 1.8 2.4l-1.3 5A2.2 2.2 0 0 1 14 17H5.5";

function Feedback({ side, onChange }) {
  const vote = async (thumbs) => {
    try {
      await post("/v1/feedback", { trajectory_id: side.state.ended.trajectory_id, thumbs });
      onChange({ vote: thumbs, voteFault: null });
    } catch (fault) {
      onChange({ voteFault: fault.message });
    }
  };
  return html`
    <div class="feedback" role="group" aria-label="Was this right?">
      ${Object.entries(THUMBS).map(([thumbs, name]) => html`
        <button type="button" class="thumb" aria-pressed=${side.vote === thumbs} onClick=${() => vote(thumbs)}>
          <svg viewBox="0 0 20 20" class=${thumbs} aria-hidden="true"><path d=${THUMB} /></svg>${name}
        </button>
      `)}
      ${side.vote && html`<span role="status">Thank you: kept beside the trajectory.</span>`}
      ${side.voteFault && html`<span class="fault" role="alert">${side.voteFault}</span>`}
    </div>
  `;
}
