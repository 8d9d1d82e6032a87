"use strict";
// Questions of a run, read from files beside this one. What data say enters the page as text only.
// INDEX: plans, starts (first question of each file), sets ([name, first, end]), scores and changes
// (one letter per question, by plan).
const TOGETHER = 10; // questions shown at once
const KEPT = 4; // files kept in memory
const files = new Map();
const waiting = new Map();
const at = (id) => document.getElementById(id);

// Called by each file of questions.
function shown(number, questions) {
  files.set(number, questions);
  while (files.size > KEPT) files.delete(files.keys().next().value);
  waiting.get(number)?.();
}

function load(number) {
  if (files.has(number)) {
    const questions = files.get(number);
    files.delete(number); // the last one used stays longest
    files.set(number, questions);
    return Promise.resolve(questions);
  }
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `questions-${String(number).padStart(6, "0")}.js`;
    waiting.set(number, () => {
      waiting.delete(number);
      script.remove();
      resolve(files.get(number));
    });
    script.onerror = () => reject(new Error(`${script.src} is missing; write the viewer again`));
    document.head.append(script);
  });
}

function fileOf(question) {
  let low = 0;
  let high = INDEX.starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (INDEX.starts[middle] <= question) low = middle;
    else high = middle - 1;
  }
  return low;
}

// Which letters a choice of "Show" accepts, in changes or in scores.
const CHANGES = { changed: "lgt", lost: "l", gained: "g", words: "t" };
const SCORES = { unscored: "u", wrong: "w", right: "r", part: "p" };

function fits(question, plans, show) {
  if (show === "all") return plans.length === INDEX.plans.length || plans.some((p) => INDEX.scores[p][question] !== "-");
  const [letters, table] = show in CHANGES ? [CHANGES[show], INDEX.changes] : [SCORES[show], INDEX.scores];
  return plans.some((p) => letters.includes(table[p][question]));
}

function chosen() {
  const set = at("set").value === "" ? [null, 0, INDEX.count] : INDEX.sets[Number(at("set").value)];
  const plans = at("plan").value === "" ? INDEX.plans.map((_, p) => p) : [Number(at("plan").value)];
  const found = [];
  for (let question = set[1]; question < set[2]; question++)
    if (fits(question, plans, at("show").value)) found.push(question);
  return found;
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

const WORDS = { s: "same", t: "other words, same score", l: "lost", g: "gained", n: "", "-": "" };

function answers(question, number) {
  const box = element("div", undefined, "scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", `Answers to ${question.item}`);
  const table = element("table");
  table.append(element("caption", "Answers"));
  const head = element("tr");
  for (const [name, kind] of [["plan", "text"], ["score", ""], ["change", "text"], ["answer", "text"], ["why", "text"]]) {
    const cell = element("th", name, kind);
    cell.scope = "col";
    head.append(cell);
  }
  const top = element("thead");
  top.append(head);
  const body = element("tbody");
  for (const [plan, answer, score, why] of question.answers) {
    const row = element("tr");
    const first = element("th", INDEX.plans[plan], "text");
    first.scope = "row";
    const change = INDEX.changes[plan][number];
    row.append(first, element("td", score === null ? "–" : String(score)));
    row.append(element("td", WORDS[change] ?? "", `text ${change === "l" ? "lost" : change === "g" ? "gained" : ""}`));
    row.append(element("td", answer ?? "–", "said"), element("td", why, "said"));
    body.append(row);
  }
  table.append(top, body);
  box.append(table);
  return box;
}

function drawn(question, number) {
  const box = element("article", undefined, "question");
  const heading = element("h3", `${question.set} / ${question.item}`);
  heading.id = `question-${number}`;
  box.setAttribute("aria-labelledby", heading.id);
  const pictures = element("div", undefined, "pictures");
  question.pictures.forEach((source, place) => {
    const image = element("img");
    image.src = source;
    image.alt = `Picture ${place + 1} of ${question.item}`;
    image.loading = "lazy";
    pictures.append(image);
  });
  const text = element("div", undefined, "said");
  text.append(element("p", question.question ?? "", "said"));
  if (question.options.length) {
    const list = element("ol");
    list.type = "A";
    for (const option of question.options) list.append(element("li", option));
    text.append(list);
  }
  if (question.references.length) text.append(element("p", `Reference: ${question.references.join(" | ")}`, "said"));
  if (question.note) text.append(element("p", question.note, "quiet"));
  if (question.pictures.length) box.append(pictures);
  box.append(heading, text, answers(question, number));
  return box;
}

let found = [];
let first = 0;
let drawing = 0;

async function draw() {
  const mine = ++drawing;
  const page = found.slice(first, first + TOGETHER);
  const end = first + page.length;
  at("previous").setAttribute("aria-disabled", String(first === 0));
  at("next").setAttribute("aria-disabled", String(end >= found.length));
  try {
    const made = [];
    for (const number of page) {
      const file = fileOf(number);
      const questions = await load(file);
      made.push(drawn(questions[number - INDEX.starts[file]], number));
    }
    if (mine !== drawing) return; // another choice was made meanwhile
    at("questions").replaceChildren(...made);
    at("status").textContent = found.length
      ? `Questions ${first + 1} to ${end} of ${found.length}; ${INDEX.count} in all.`
      : `No question fits; ${INDEX.count} in all.`;
  } catch (error) {
    at("status").textContent = `error: ${error.message}`;
  }
}

function remember() {
  const state = new URLSearchParams({ set: at("set").value, plan: at("plan").value, show: at("show").value, at: first });
  history.replaceState(null, "", `#${state}`);
}

function choose() {
  first = 0;
  found = chosen();
  remember();
  draw();
}

function move(step) {
  const next = first + step * TOGETHER;
  if (next < 0 || next >= found.length) return;
  first = next;
  remember();
  draw();
}

// What the page's address says; where it says nothing that there is, the first choice.
function restore() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const id of ["set", "plan", "show"]) {
    const options = [...at(id).options].map((option) => option.value);
    at(id).value = options.includes(state.get(id)) ? state.get(id) : options[0];
  }
  found = chosen();
  const place = Number(state.get("at"));
  first = Number.isInteger(place) && place > 0 && place < found.length ? place - (place % TOGETHER) : 0;
  draw();
}

function begin() {
  for (const id of ["set", "plan", "show"]) at(id).addEventListener("change", choose);
  addEventListener("hashchange", restore);
  at("previous").addEventListener("click", () => move(-1));
  at("next").addEventListener("click", () => move(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input, textarea")) return;
    if (event.key === "n") move(1);
    else if (event.key === "p") move(-1);
  });
  document.querySelector("form.controls").hidden = false;
  document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
  restore();
}

begin();
