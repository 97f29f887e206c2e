// The tags of a trajectory: those of `router_r1.protocol.TAGS`, which a test holds this to.
const NAMES = ["think", "search", "information", "answer"].join("|");

/** A tag: its slash, if it closes, and its name. */
export const TAG = new RegExp(`<(/?)(${NAMES})>`, "g");

/** Parts a text at its tags, and keeps them. */
export const AT_TAGS = new RegExp(`(</?(?:${NAMES})>)`);
