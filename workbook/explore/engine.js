// The engine of the page: what probe.py and pictures.py compute in Python, from the files that page.py exports.

import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const RATE = 22050, WINDOW = 79380, FACE = 72;
export const INTACT = {
  audio_gain: 1, video_gain: 1, audio_noise: Infinity, video_noise: Infinity, shift: 0, voice: "", audio_masked: [], video_masked: [],
};

// ---- files -----------------------------------------------------------------------------------------------------------

// A function that makes each result once, and forgets the oldest ones; a promise that fails is forgotten, too.
function remembered(make, most = 64) {
  const results = new Map();
  return (...key) => {
    const name = JSON.stringify(key);
    if (!results.has(name)) {
      results.set(name, make(...key));
      results.get(name).catch?.(() => results.delete(name));
      if (results.size > most) results.delete(results.keys().next().value);
    }
    return results.get(name);
  };
}

async function download(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} cannot be read (${response.status})`);
  return response;
}

// The arrays of a compressed file of safetensors, by name.
const tensors = remembered(async (name) => {
  const plain = (await download(name)).body.pipeThrough(new DecompressionStream("gzip"));
  const file = await new Response(plain).arrayBuffer(), size = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, size)));
  const types = { F32: Float32Array, U8: Uint8Array };
  return Object.fromEntries(Object.entries(header).map(([key, { dtype, data_offsets: [from, to] }]) =>
    [key, new types[dtype](file.slice(8 + size + from, 8 + size + to))]));
});

let last = Promise.resolve();  // one computation at a time
const inTurn = (action) => (last = last.catch(() => null).then(action));
const session = remembered(async (name) => {
  const graph = await (await download(name)).arrayBuffer();
  return inTurn(() => ort.InferenceSession.create(graph));
});

// The outputs of a graph by name; inputs : by name, [values, shape]. A graph may read less.
async function run(name, inputs) {
  const graph = await session(name);
  const feeds = Object.fromEntries(graph.inputNames.map((key) => [key, new ort.Tensor("float32", ...inputs[key])]));
  const results = await inTurn(() => graph.run(feeds));
  return Object.fromEntries(graph.outputNames.map((key) => [key.replace("> ", ""), results[key]]));
}

// ---- sound -----------------------------------------------------------------------------------------------------------

// Rounds as Python does: halves to the even number.
const round = (x) => (x - Math.floor(x) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
const sum = (values) => values.reduce((total, value) => total + value, 0);

// Noise so many decibels weaker than the values.
function withNoise(values, noise, decibels) {
  if (decibels === Infinity) return values;
  const size = Math.sqrt(sum(values.map((value) => value * value)) / values.length) * 10 ** (-decibels / 20);
  return values.map((value, k) => value + size * noise[k]);
}

// A wav file in which `loudest` has full volume; null for silence.
function wav(samples, loudest) {
  if (!samples.some((value) => value)) return null;
  const file = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const ascii = (place, text) => [...text].forEach((sign, k) => file.setUint8(place + k, sign.charCodeAt(0)));
  ascii(0, "RIFF"), ascii(8, "WAVEfmt "), ascii(36, "data");
  [[4, 36 + 2 * samples.length], [16, 16], [24, RATE], [28, 2 * RATE], [40, 2 * samples.length]].forEach(([place, value]) => file.setUint32(place, value, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([place, value]) => file.setUint16(place, value, true));
  samples.forEach((value, k) => file.setInt16(44 + 2 * k, 32767 * Math.min(1, Math.max(-1, value / loudest)), true));
  return file;
}

// ---- pictures --------------------------------------------------------------------------------------------------------

// Rows of values (R, T) as pixels, the first row at the bottom; values that are not a number get the shade.
function coloured(values, columns, low, high, table, gain = 1, shade = [0, 0, 0]) {
  const rows = values.length / columns, image = new ImageData(columns, rows);
  values.forEach((value, k) => {
    const place = 4 * ((rows - 1 - Math.floor(k / columns)) * columns + (k % columns));
    const colour = 3 * Math.min(255, Math.max(0, Math.floor(((value - low) / Math.max(high - low, 1e-12)) * 256)));
    for (let part = 0; part < 3; part++) image.data[place + part] = Number.isNaN(value) ? shade[part] : gain * table[colour + part];
    image.data[place + 3] = 255;
  });
  return image;
}

// Features (C, T), each channel standardised over its steps; a single step over its channels.
function heat(values, columns, table) {
  const rows = values.length / columns, groups = columns > 1 ? rows : 1, size = values.length / groups;
  const scaled = new Float64Array(values.length);
  for (let group = 0; group < groups; group++) {
    const own = values.subarray(group * size, (group + 1) * size), mean = sum(own) / size;
    const deviation = Math.sqrt(sum(own.map((value) => (value - mean) ** 2)) / size);
    const varies = deviation > 1e-6 * own.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    own.forEach((value, k) => (scaled[group * size + k] = varies ? (value - mean) / deviation : 0));
  }
  const sizes = scaled.map(Math.abs).sort(), reach = sizes[Math.round(0.98 * (sizes.length - 1))] || 1;
  return coloured(scaled, columns, -reach, reach, table);
}

// The place of the largest value.
export const best = (row) => row.indexOf(Math.max(...row));

// ---- a corpus --------------------------------------------------------------------------------------------------------

export class Corpus {
  constructor(record, look) {
    Object.assign(this, record, { look });
    this.frames = this.video.length === 4 ? this.video[0] : 0;
    this.describe = remembered((graph, clip, gain, noise) => this.description(graph, clip, gain, noise));
    this.answer = remembered((network, clip, change) => this.answerOf(network, clip, change));
    const drawn = { audio: (clip, change) => this.audioPicture(clip, change), video: (clip, change) => this.videoPicture(clip, change) };
    this.drawn = Object.fromEntries(Object.entries(drawn).map(([modality, draw]) => [modality, remembered(draw, 16)]));
    this.soundFeatures = remembered((clip, shift, noise) => this.featuresOf(clip, shift, noise));
  }

  shared = () => tensors(this.file);
  arrays = (clip) => tensors(this.clips[clip].file);

  // (T) true for the input steps whose centre is in a masked span
  masked(modality, change) {
    return this.times[modality].map((time) => change[`${modality}_masked`].some(([start, end]) => time >= start && time <= end));
  }

  // The 3.6 s of sound of a clip, shifted and noisy.
  async window(clip, shift, noise) {
    const { sound } = await this.arrays(clip), { start, first } = this.clips[clip];
    const from = round((start + shift) * RATE) - first;
    return withNoise(sound.slice(from, from + WINDOW), (await this.shared()).audio, noise);
  }

  // The audio (C, Ta) that a network gets of a changed clip.
  async audioOf(clip, change) {
    const { shift, audio_noise: noise } = change, voice = change.voice === "" ? clip : change.voice, steps = this.audio[1];
    const isStored = !this.clips[voice].has.audio || (shift === 0 && noise === Infinity);
    const values = isStored ? (await this.arrays(voice)).audio : await this.soundFeatures(voice, shift, noise);
    const masked = this.masked("audio", change);
    return values.map((value, k) => (masked[k % steps] ? 0 : value * change.audio_gain));
  }

  async featuresOf(clip, shift, noise) {
    if (this.features) return (await this.heard(await this.window(clip, shift, noise)))[this.features].data;
    const steps = this.audio[1], by = round(shift * steps), { audio } = await this.arrays(clip);
    const shifted = audio.map((_, k) => ((k % steps) + by >= 0 && (k % steps) + by < steps ? audio[k + by] : 0));
    return withNoise(shifted, (await this.shared()).audio, noise);
  }

  // The features of a window of sound, logmel and mfcc.
  heard = (samples) => run(this.sound, { samples: [samples, [1, WINDOW]] });

  // The video of a noisy clip before masks and gain: (Tv, 3, S, S) in [0, 1], or (Tv, C).
  async videoOf(clip, noise) {
    const { video } = await this.arrays(clip), own = noise === Infinity ? null : (await this.shared()).video;
    if (!this.frames) return withNoise(video, own, noise);
    const values = withNoise(Float32Array.from(video, (value) => value / 255), own, noise);
    return own ? values.map((value) => Math.min(1, Math.max(0, value))) : values;
  }

  async description(graph, clip, gain, noise) {
    const values = (await this.videoOf(clip, noise)).map((value) => value * gain);
    return graph ? (await run(graph, { frames: [values, [1, ...this.video]] })).video.data : values;
  }

  // The descriptors (Tv, C) that a network gets of a changed clip.
  async descriptors({ frames, black, reads }, clip, change) {
    const C = black.length, { video_gain: gain, video_noise: noise } = change;
    const values = gain && reads.includes("video") ? await this.describe(frames, clip, gain, noise) : null;
    const masked = this.masked("video", change);
    return Float32Array.from({ length: C * masked.length }, (_, k) =>
      values && !masked[Math.floor(k / C)] ? values[k] : black[k % C]);
  }

  // What the graphs of a network read of a changed clip.
  async inputsOf(network, clip, change) {
    const [audio, video] = await Promise.all([this.audioOf(clip, change), this.descriptors(network, clip, change)]), [Tv] = this.video;
    return { audio: [audio, [1, ...this.audio]], video: [video, [1, Tv, video.length / Tv]] };
  }

  // A network's answer about a changed clip: outputs by condition, attention maps, vectors in multiples of even.
  async answerOf(number, clip, change) {
    const network = this.networks[number], width = this.names.length, { has } = this.clips[clip];
    const { outputs, ...attention } = await run(network.answers, await this.inputsOf(network, clip, change));
    const parts = Object.entries(attention), isMap = ([name]) => name.includes("_to_");
    const rows = network.conditions.map(({ name, needs }, k) => [name, needs, [...outputs.data.slice(k * width, (k + 1) * width)]]);
    return {
      outputs: Object.fromEntries(rows.filter(([, needs]) => needs.every((name) => has[name])).map(([name, , row]) => [name, row])),
      vectors: Object.fromEntries(parts.filter((part) => !isMap(part)).map(([name, { data }]) => [name, [...data]])),
      maps: Object.fromEntries(parts.filter(isMap)),
      times: network.times,
    };
  }

  // Integrated gradients of the answer: a score for each step of each modality that the network reads.
  async gradients(number, clip, change) {
    const network = this.networks[number], { outputs } = await this.answer(number, clip, change);
    const sign = Math.max(...outputs.AV) > 0 ? 1 : -1;  // a negative score is spoken for by lower ones
    const target = Float32Array.from(outputs.AV, (_, k) => (k === best(outputs.AV) ? sign : 0));
    const inputs = { ...(await this.inputsOf(network, clip, change)), target: [target, [1, target.length]] };
    const scores = await run(network.gradients, inputs);
    return Object.fromEntries(network.reads.map((name) => [name, [...scores[name].data]]));
  }

  // The picture of one modality of a changed clip; of audio, also the wav file. It is made again only if its part of the change differs.
  picture(modality, clip, change) {
    const own = Object.entries(change).filter(([name]) => name.startsWith(modality) || (modality === "audio" && ["shift", "voice"].includes(name)));
    return this.drawn[modality](clip, Object.fromEntries(own));
  }

  // The picture of a changed clip: a row of faces, or features.
  async videoPicture(clip, change) {
    const values = await this.videoOf(clip, change.video_noise), masked = this.masked("video", change), [Tv, C, S] = this.video;
    if (!this.frames) {
      const sorted = Float32Array.from(values, (_, k) => (masked[k % Tv] ? 0 : values[(k % Tv) * C + Math.floor(k / Tv)] * change.video_gain));
      return heat(sorted, Tv, this.look.tables.video);
    }
    const step = Math.max(1, Math.floor(S / FACE)), side = Math.ceil(S / step), image = new ImageData(side * Tv, side);
    for (let frame = 0; frame < Tv; frame++)
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++) {
          const place = 4 * (y * side * Tv + frame * side + x), gain = masked[frame] ? 0 : 255 * change.video_gain;
          for (let part = 0; part < 3; part++)
            image.data[place + part] = gain * values[((frame * 3 + this.rgb[part]) * S + y * step) * S + x * step];
          image.data[place + 3] = 255;
        }
    return image;
  }

  // The picture and the wav file of a changed clip's sound; of features, and of a clip without sound, no file.
  async audioPicture(clip, change) {
    const voice = change.voice === "" ? clip : change.voice, { tables } = this.look;
    if (!this.features || !this.clips[voice].has.audio) return [heat(await this.audioOf(clip, change), this.audio[1], tables.audio), null];
    const samples = (await this.window(voice, change.shift, change.audio_noise)).slice();
    for (const [start, end] of change.audio_masked) samples.fill(0, round(start * RATE), round(end * RATE));
    const bands = (await this.heard(samples)).logmel.data, steps = this.audio[1];
    const extreme = (choose) => bands.reduce((a, b) => choose(a, b)), plain = await this.window(voice, 0, Infinity);
    const loudest = plain.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
    return [coloured(bands, steps, extreme(Math.min), extreme(Math.max), tables.magma, change.audio_gain), wav(samples, loudest)];
  }

  // An attention map in multiples of even, keys that are hidden shaded; the scale goes `reach` to either side of 1.
  mapPicture({ values, keys }, modality, reach) {
    return coloured(values, keys, 1 - reach, 1 + reach, this.look.tables[modality], 1, this.look.shade);
  }
}

// One head's attention map in multiples of even, NaN for hidden keys, and how far it goes from 1.
export function multiplesOfEven({ dims: [, queries, keys], data }, head) {
  const weights = data.slice(head * queries * keys, (head + 1) * queries * keys), visible = new Float32Array(queries);
  weights.forEach((weight, k) => (visible[Math.floor(k / keys)] += weight > 0));
  const values = weights.map((weight, k) => (weight > 0 ? weight * visible[Math.floor(k / keys)] : NaN));
  return { values, keys, reach: values.reduce((most, value) => Math.max(most, value - 1 || 0), 1) };
}
