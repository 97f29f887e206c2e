// The text of a trajectory in blocks: thoughts, routes with what came back, answer. Works on a text that still grows.
import { TAG } from "./tags.js";

const BEGUN_TAG = /<\/?[a-z]*$/;

/** Pieces of a text: `{kind, text, start}`; the kind is a tag's name, or "" outside of any. */
export function pieces(text) {
  const found = [];
  let kind = "", start = 0;
  const put = (end) => {
    if (text.slice(start, end).trim()) found.push({ kind, text: text.slice(start, end).trim(), start });
  };
  for (const tag of text.matchAll(TAG)) {
    put(tag.index);
    kind = tag[1] ? "" : tag[2];
    start = tag.index + tag[0].length;
  }
  const begun = text.slice(start).match(BEGUN_TAG); // may become a tag: not shown before it is one
  put(begun ? start + begun.index : text.length);
  return found;
}

/**
 * Blocks of a trajectory that may still grow: thoughts, routes, observations that no candidate wrote, other text.
 *
 * A route belongs to the last search that was written before it started, and the observation after that search is its
 * reply. Of a method that tells its text at the end, routes are blocks of their own until then.
 */
export function blocks({ text, routes }) {
  const found = pieces(text).map((piece) => ({ ...piece }));
  const searches = found.filter((block) => block.kind === "search");
  const alone = [];
  for (const route of routes) {
    const free = searches.filter((block) => !block.route);
    const search = free.findLast((block) => block.start < route.at) ?? free[0];
    if (search) search.route = route;
    else alone.push({ kind: "search", text: "", start: route.at, route });
  }
  const shown = [];
  for (const block of [...found, ...alone].sort((a, b) => a.start - b.start)) {
    const asked = shown.at(-1);
    if (block.kind === "information" && asked?.kind === "search" && asked.route) asked.reply = block.text;
    else shown.push(block);
  }
  return shown;
}
