// The page: controls around the figure of widget.js, with the answers of engine.js.
//
// What it shows of names and labels is text (`textContent`, options, the escaped SVG of widget.js), never HTML.

import { best, Corpus, INTACT, multiplesOfEven } from "./engine.js";
import widget from "./widget.js";

const control = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const page = await (await fetch("page.json")).json();
const noises = page.noises.map((noise) => noise ?? Infinity);
const corpora = page.corpora.map((record) => new Corpus(record, page));
const networks = corpora.flatMap((corpus) => corpus.networks.map(({ name }, number) => ({ corpus, number, name, id: `${corpus.name}/${name}` })));
const guesses = new Map();  // by clip of a corpus: the viewer's guess
let state;  // network, beside: of `networks`; clip: a number; map: of the maps of the first network

// The object that widget.js draws from.
const traits = { view: {}, video: null, audio: null, sound: null, volume: 1, masked: { audio: [], video: [] } }, heard = {};
const model = {
  get: (name) => traits[name],
  set: (name, value) => (traits[name] = value),
  save_changes: () => (heard.change(), step()),
  on: (event, listener) => (heard[event] = listener),
  send: () => null,
};

// ---- controls --------------------------------------------------------------------------------------------------------

const gain = { places: () => page.gains, words: (value) => value.toFixed(1) };
const noise = { places: () => noises, words: (value) => (value === Infinity ? "none" : `${value} dB`) };
const shift = {
  places: ({ reach }) => Array.from({ length: 61 }, (_, k) => Math.round((k - 30) * (reach / 30) * 1000) / 1000),
  words: (value) => `${signed(value)} ${state.network.corpus.clock.unit}`,
};
const SLIDERS = { audio_gain: gain, audio_noise: noise, shift, video_gain: gain, video_noise: noise };
const signed = (value) => `${value < 0 ? "" : "+"}${value.toFixed(2)}`;

function change() {
  const sliders = Object.entries(SLIDERS).map(([name, { places }]) => [name, places(state.network.corpus)[control[name].value]]);
  const { audio, video } = traits.masked, voice = control.voice.value;
  return { ...Object.fromEntries(sliders), voice: voice === "" ? "" : Number(voice), audio_masked: audio, video_masked: video };
}

function offer(select, options, value) {
  select.replaceChildren(...options.map(([text, value, group]) => Object.assign(new Option(text, value), { group })));
  for (const group of new Set(options.map(([, , group]) => group).filter(Boolean))) {
    const box = Object.assign(document.createElement("optgroup"), { label: group });
    box.append(...[...select.options].filter((option) => option.group === group));
    select.append(box);
  }
  select.value = value;
}

const isHidden = (corpus, clip) => control.guess.checked && !guesses.has(`${corpus.name} ${clip}`);
const labelOf = (corpus, clip) => (isHidden(corpus, clip) ? `clip ${clip + 1}` : `${clip + 1}: ${corpus.clips[clip].label}`);

// Sets all controls to a state and a change of the clip.
function set(next, changes) {
  state = next;
  const { network, beside, clip } = state, { corpus } = network, maps = corpus.networks[network.number].maps;
  const several = corpora.length > 1, others = networks.filter((other) => other.corpus === corpus);
  offer(control.network, networks.map(({ name, id, corpus }) => [name, id, several ? corpus.name : undefined]), network.id);
  offer(control.beside, [["—", ""], ...others.map(({ name, id }) => [name, id])], beside?.id ?? "");
  offer(control.map, maps.map(({ name }) => [name, name]), state.map ?? maps[0]?.name);
  control.map.parentNode.hidden = !maps.length;
  control.gradients.parentNode.hidden = !corpus.networks[network.number].gradients;
  offer(control.clip, corpus.clips.map((_, k) => [labelOf(corpus, k), k]), clip);
  const voices = corpus.clips.map((_, k) => k).filter((k) => k !== clip && corpus.clips[k].has.audio);
  offer(control.voice, [["itself", ""], ...voices.map((k) => [labelOf(corpus, k), k])], changes.voice);
  for (const [name, { places }] of Object.entries(SLIDERS)) {
    const values = places(corpus);
    Object.assign(control[name], { min: 0, max: values.length - 1, step: 1, value: values.indexOf(changes[name]) });
  }
  const isExact = ["", "mfcc", "logmel"].includes(corpus.features);
  control.audio_noise.disabled = control.shift.disabled = !isExact;
  traits.masked = { audio: changes.audio_masked, video: changes.video_masked };
}

// ---- a view in the address -------------------------------------------------------------------------------------------

function address(changes) {
  const parameters = new URLSearchParams({ network: state.network.id, clip: state.clip + 1 });
  if (state.beside) parameters.set("beside", state.beside.id);
  if (state.map) parameters.set("map", state.map);
  for (const name of ["gradients", "guess"]) if (control[name].checked) parameters.set(name, 1);
  const texts = { ...changes, voice: changes.voice === "" ? "" : changes.voice + 1 };
  for (const name of ["audio_masked", "video_masked"]) texts[name] = changes[name].map((span) => span.join("-")).join(",");
  for (const [name, text] of Object.entries(texts)) if (`${text}` !== `${INTACT[name]}`) parameters.set(name, text);
  return `#${parameters}`;
}

// Shows the view of the address; what it holds that this page does not have is left out.
function restore() {
  const parameters = new URLSearchParams(location.hash.slice(1)), named = (key) => networks.find(({ id }) => id === parameters.get(key));
  const network = named("network") ?? networks[0], { corpus } = network, beside = named("beside");
  const number = (key) => (parameters.get(key) ?? "").trim() === "" ? NaN : Number(parameters.get(key));
  const clipOf = (key) => (Number.isInteger(number(key)) && corpus.clips[number(key) - 1] ? number(key) - 1 : undefined);
  const spans = (key) => (parameters.get(key) ?? "").split(",").map((span) => span.split("-").map(Number))
    .filter(([start, end, more]) => more === undefined && start >= 0 && end > start && end <= corpus.clock.length);
  const changes = { ...INTACT, audio_masked: spans("audio_masked"), video_masked: spans("video_masked"), voice: clipOf("voice") ?? "" };
  for (const [name, { places }] of Object.entries(SLIDERS)) if (places(corpus).includes(number(name))) changes[name] = number(name);
  for (const name of ["gradients", "guess"]) control[name].checked = parameters.has(name);
  const clip = clipOf("clip") ?? 0, map = corpus.networks[network.number].maps.find(({ name }) => name === parameters.get("map"))?.name;
  if (changes.voice === clip) changes.voice = "";
  set({ network, beside: beside?.corpus === corpus ? beside : undefined, clip, map }, changes);
}

// ---- words -----------------------------------------------------------------------------------------------------------

function title(corpus, clip, changes) {
  const { unit } = corpus.clock, parts = [isHidden(corpus, clip) ? labelOf(corpus, clip) : `${corpus.clips[clip].label} (${corpus.clips[clip].clip})`];
  if (changes.voice !== "") parts.push(`voice of ${labelOf(corpus, changes.voice)}`);
  for (const [name, word] of [["audio", "sound"], ["video", "picture"]]) {
    const spans = changes[`${name}_masked`].map(([start, end]) => `${start.toFixed(2)}–${end.toFixed(2)}`);
    if (changes[`${name}_gain`] !== 1) parts.push(`${word} × ${changes[`${name}_gain`]}`);
    if (changes[`${name}_noise`] !== Infinity) parts.push(`noise in ${word} ${changes[`${name}_noise`]} dB`);
    if (spans.length) parts.push(`${word} masked ${spans.join(", ")} ${unit}`);
  }
  if (changes.shift) parts.push(`sound early by ${shift.words(changes.shift)}`);
  return parts.join("; ");
}

function answerInWords({ outputs }, names) {
  const inputs = { AV: "with both modalities", A: "with the sound alone", V: "with the picture alone" };
  const says = (row) => (names.length > 1 ? `${(100 * Math.max(...row)).toFixed(0)}% ${names[best(row)]}` : signed(row[0]));
  return `${Object.entries(outputs).map(([name, row]) => `${says(row)} ${inputs[name]}`).join(", ")}: the answer of the network.`;
}

// ---- a step ----------------------------------------------------------------------------------------------------------

async function viewOf(changes) {
  const { network, beside, clip } = state, { corpus } = network, about = corpus.clips[clip], shown = [network, beside].filter(Boolean);
  const conditions = {}, hidden = isHidden(corpus, clip);
  const drawn = await Promise.all(shown.map(async ({ number, name }) => {
    const [answer, before] = [await corpus.answer(number, clip, changes), await corpus.answer(number, clip, INTACT)];
    for (const condition of ["AV", "A", "V"]) if (answer.outputs[condition]) conditions[condition] = page.conditions[condition];
    const own = corpus.networks[number].maps, choice = corpus.networks[network.number].maps[control.map.selectedIndex];
    const map = own.find(({ direction, head }) => direction === choice?.direction && head === choice.head);
    const [key, query] = map?.direction.split("_to_") ?? [];
    const picture = map && { name: map.name, key, query, ...multiplesOfEven(answer.maps[map.direction], map.head) };
    return { label: name, ...answer, before, ...(picture && { map: picture }) };
  }));
  const maps = drawn.flatMap(({ map }) => map ?? []), reach = Math.max(...maps.map((map) => map.reach));  // one scale
  for (const map of maps) map.png = corpus.mapPicture(map, map.key, reach);
  if (control.gradients.checked && corpus.networks[network.number].gradients && !hidden) drawn[0].scores = await corpus.gradients(network.number, clip, changes);
  const nothing = { outputs: {}, vectors: {}, times: {}, before: { outputs: {}, vectors: {}, times: {} } };
  return {
    title: title(corpus, clip, changes),
    words: hidden ? "hidden until you have guessed" : drawn.map((each) => `${each.label}: ${answerInWords(each, corpus.names)}`).join(" "),
    clock: corpus.clock, frames: corpus.frames, times: corpus.times, names: corpus.names, range: corpus.names.length > 1 ? [0, 1] : [-3, 3],
    truth: hidden ? "" : about.truth, cues: hidden ? {} : about.cues, conditions: hidden ? {} : conditions,
    networks: hidden ? drawn.map(({ label }) => ({ label, ...nothing })) : drawn, colours: page.colours, text: page.text,
  };
}

async function show() {
  const { corpus } = state.network, { clip } = state, changes = change();
  for (const [name, { words }] of Object.entries(SLIDERS)) {
    const text = words(changes[name]);
    control[name].nextElementSibling.textContent = text;
    control[name].setAttribute("aria-valuetext", text);
  }
  const [view, video, [audio, sound]] = await Promise.all([
    viewOf(changes), corpus.picture("video", clip, changes), corpus.picture("audio", clip, changes),
  ]);
  Object.assign(traits, { view, video, audio, sound, volume: changes.audio_gain });
  const about = [state.network, state.beside].filter((each) => each && corpus.networks[each.number].about);
  control.about.textContent = about.map(({ name, number }) => `${name}: ${corpus.networks[number].about}`).join("\n");
  askGuess();
  history.replaceState(null, "", address(changes));
  heard.change();
}

// Shows the state of the controls; a step that is asked for while another one computes comes after it.
let running = false, asked = false;
async function step() {
  asked = true;
  control.figure.dataset.idle = false;
  if (running) return;
  running = true;
  while (asked) {
    asked = false;
    try {
      await show();
      control.message.textContent = isHidden(state.network.corpus, state.clip) ? "Hear and see the clip. What is your guess?" : score();
    } catch (error) {
      control.message.textContent = `This cannot be computed: ${error.message}`;
    }
  }
  running = false;
  control.figure.dataset.idle = true;
}

// ---- guess first -----------------------------------------------------------------------------------------------------

const guessed = (corpus) => (corpus.names.length > 1 ? corpus.names : ["negative", "positive"]);
const NEUTRAL = "neutral, which does not count";  // of a score
const named = (corpus, value) => (corpus.names.length > 1 ? value : ["negative", NEUTRAL, "positive"][1 + Math.sign(value)]);

function askGuess() {
  const { corpus } = state.network, { clip } = state;
  control.guesses.hidden = !isHidden(corpus, clip);
  control.guesses.replaceChildren(...guessed(corpus).map((name) => {
    const button = Object.assign(document.createElement("button"), { textContent: name });
    button.addEventListener("click", async () => {
      const { outputs } = await corpus.answer(state.network.number, clip, INTACT);
      const answer = corpus.names.length > 1 ? corpus.names[best(outputs.AV)] : named(corpus, outputs.AV[0]);
      guesses.set(`${corpus.name} ${clip}`, { guess: name, answer, truth: named(corpus, corpus.clips[clip].truth) });
      set(state, change());
      step();
    });
    return button;
  }));
}

function score() {
  const own = guesses.get(`${state.network.corpus.name} ${state.clip}`), all = [...guesses.values()].filter(({ truth }) => truth !== NEUTRAL);
  if (!control.guess.checked || !own) return "";
  const right = (key) => all.filter((each) => each[key] === each.truth).length;
  return `You: ${own.guess}. Truth: ${own.truth}. The network: ${own.answer}. Right so far: you ${right("guess")}, the network ${right("answer")} of ${all.length}.`;
}

// ---- saving ----------------------------------------------------------------------------------------------------------

// The figure as a canvas: its canvases, its drawings with their styles, its title.
async function picture(root, scale = 2) {
  const frame = root.getBoundingClientRect(), canvas = document.createElement("canvas"), style = await (await fetch("widget.css")).text();
  Object.assign(canvas, { width: frame.width * scale, height: frame.height * scale });
  const context = canvas.getContext("2d"), patterns = root.querySelector(".patterns defs").outerHTML;
  context.scale(scale, scale);
  context.fillStyle = "white";
  context.fillRect(0, 0, frame.width, frame.height);
  for (const element of root.querySelectorAll("canvas, svg:not(.patterns)")) {
    const { left, top, width, height } = element.getBoundingClientRect();
    if (!width || !height) continue;
    let image = element;
    if (element.tagName === "svg") {
      const inside = `<style>${style}</style>${patterns}<g class="avlib-figure"><g class="${element.closest(".maps") ? "maps" : ""}">${element.innerHTML}</g></g>`;
      const size = `viewBox="${element.getAttribute("viewBox")}" width="${width * scale}" height="${height * scale}" color="${page.colours.ink}"`;
      image = new Image();
      image.src = URL.createObjectURL(new Blob([`<svg xmlns="http://www.w3.org/2000/svg" ${size}>${inside}</svg>`], { type: "image/svg+xml" }));
      await image.decode();
      URL.revokeObjectURL(image.src);
    }
    context.drawImage(image, left - frame.left, top - frame.top, width, height);
  }
  context.font = "bold 13px sans-serif";
  context.fillStyle = page.colours.ink;
  context.fillText(traits.view.title, 4, 14, frame.width - 8);
  return canvas;
}

// The figure as a file, which widget.js hands out.
async function save() {
  const { network: { corpus }, clip } = state, canvas = await picture(control.figure.querySelector(".avlib-figure"));
  const name = isHidden(corpus, clip) ? `clip-${clip + 1}` : corpus.clips[clip].clip;
  heard["msg:custom"]({ download: `${name}.png` }, [await new Promise((done) => canvas.toBlob(done))]);
}

// ---- start -----------------------------------------------------------------------------------------------------------

function move(clip) {
  const { corpus } = state.network, voice = change().voice;
  if (!corpus.clips[clip]) return;
  set({ ...state, clip }, { ...change(), voice: voice === clip ? "" : voice });
  step();
}

const byId = (id) => networks.find((network) => network.id === id);
control.network.addEventListener("change", () => {
  const network = byId(control.network.value), isSame = network.corpus === state.network.corpus;
  set(isSame ? { ...state, network, map: undefined } : { network, clip: 0 }, isSame ? change() : INTACT);
  step();
});
control.beside.addEventListener("change", () => ((state.beside = byId(control.beside.value)), step()));
control.clip.addEventListener("change", () => move(Number(control.clip.value)));
control.earlier.addEventListener("click", () => move(state.clip - 1));
control.later.addEventListener("click", () => move(state.clip + 1));
control.reset.addEventListener("click", () => (set(state, INTACT), step()));
control.save.addEventListener("click", save);
control.guess.addEventListener("change", () => (set(state, change()), step()));
control.map.addEventListener("change", () => ((state.map = control.map.value), step()));
for (const name of ["gradients", "voice"]) control[name].addEventListener("change", step);
for (const name of Object.keys(SLIDERS)) control[name].addEventListener("input", step);
addEventListener("hashchange", () => (restore(), step()));

control.figure.traits = traits;  // to look at in a console
restore();
widget.render({ model, el: control.figure });
step();
