// The figures of the explorer: what the network hears and sees over time, where it attends, what it says.
// Python sends numbers and small pictures (live.py); a new picture takes the place of the old one when it is ready.

const COLOUR = { audio: "#0173b2", video: "#de8f05", AV: "#029e73", A: "#0173b2", V: "#de8f05" };
const INK = "#333333", QUIET = "#757575", LEFT = 38, RIGHT = 12;
const SAID = { AV: "both", A: "audio alone", V: "video alone" };

const escape = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const tag = (name, attributes, inside = "") =>
  `<${name} ${Object.entries(attributes).map(([key, value]) => `${key}="${value}"`).join(" ")}>${inside}</${name}>`;
const rect = (x, y, width, height, more) =>
  tag("rect", { x, y, width: Math.max(0, width), height: Math.max(0, height), ...more });
const line = (x1, y1, x2, y2, more) => tag("line", { x1, y1, x2, y2, stroke: INK, ...more });
const text = (x, y, words, more = {}) => tag("text", { x, y, fill: INK, ...more }, escape(words));
const path = (points, more) =>
  tag("path", { d: "M" + points.map((point) => point.map((v) => v.toFixed(1)).join(",")).join("L"), fill: "none", ...more });

// ---- over time -------------------------------------------------------------------------------------------------------

function rowsOf(about, shown, width) {
  const rows = [], scored = shown.networks[0].scores;
  const strip = about.pictures ? Math.min(76, (width - LEFT - RIGHT) / about.pictures) : 46;
  let top = 0;
  for (const modality of ["video", "audio"]) {
    const add = (kind, gap, height) => rows.push({ kind, modality, top: (top += gap), height }) && (top += height);
    if (modality in shown.networks[0].vectors) add("received", 17, scored ? 46 : 66);
    if (scored?.[modality]) add("scores", 15, 36);
    add("input", rows.at(-1)?.modality === modality ? 3 : 17, modality === "video" ? strip : scored ? 66 : 104);
    top += 4;
  }
  return { rows, height: top + 30 };
}

function received(row, at, shown, about) {
  const marks = [], { modality, top, height } = row, floor = top + height;
  const drawn = shown.networks.flatMap(({ vectors, before }) => [vectors[modality], before.vectors[modality]]);
  const most = Math.max(2, ...drawn.flatMap((vector) => vector ?? [])), y = (value) => floor - (value / most) * height;
  const steps = (times, vector) => vector.map((value, k) => [at(times[k]), y(value)]);
  shown.networks.forEach(({ vectors, before, times }, order) => {
    const vector = vectors[modality];
    if (!vector) return;
    const centres = times[modality], wide = at((centres.at(-1) - centres[0]) / (centres.length - 1 || 1)) - at(0);
    const few = vector.length <= 30, colour = order ? INK : COLOUR[modality];
    if (few && !order)
      vector.forEach((value, k) =>
        marks.push(rect(at(centres[k]) - 0.46 * wide, Math.min(y(1), y(value)), 0.92 * wide, Math.abs(y(value) - y(1)), { fill: colour })));
    else if (few)
      vector.forEach((value, k) =>
        marks.push(line(at(centres[k]) - 0.46 * wide, y(value), at(centres[k]) + 0.46 * wide, y(value), { stroke: colour, "stroke-width": 2.5 })));
    else marks.push(path(steps(centres, vector), { stroke: colour, "stroke-width": 1.6, "stroke-dasharray": order ? "4 3" : "none" }));
    if (!order && before.vectors[modality]) {
      const old = before.vectors[modality];
      if (few) old.forEach((value, k) =>
        marks.push(line(at(centres[k]) - 0.46 * wide, y(value), at(centres[k]) + 0.46 * wide, y(value), { stroke: QUIET, "stroke-width": 1.5 })));
      else marks.push(path(steps(centres, old), { stroke: QUIET, "stroke-width": 1 }));
    }
  });
  marks.push(line(LEFT, y(1), at(about.length), y(1), { "stroke-dasharray": "4 3", "stroke-width": 0.8 }));
  for (const value of [0, 1, Math.floor(most)])
    marks.push(text(LEFT - 5, y(value) + 4, value, { "text-anchor": "end", class: "small" }));
  marks.push(text(LEFT, top - 5, `${modality}: attention received (1 = even)`, { fill: COLOUR[modality], class: "title" }));
  return marks;
}

function scores(row, at, shown, about) {
  const { modality, top, height } = row, values = shown.networks[0].scores[modality];
  const most = Math.max(1e-9, ...values.map(Math.abs)), middle = top + height / 2, wide = (at(about.length) - LEFT) / values.length;
  const place = (k) => (modality === "audio" && about.hop ? at(k * about.hop) : LEFT + (k + 0.5) * wide);
  const marks = values.map((value, k) =>
    rect(place(k) - 0.46 * wide, Math.min(middle, middle - (value / most) * height / 2), 0.92 * wide, (Math.abs(value) / most) * height / 2, { fill: COLOUR[modality] }));
  marks.push(line(LEFT, middle, at(about.length), middle, { "stroke-width": 0.8 }));
  marks.push(text(LEFT, top - 4, "integrated gradients: up speaks for the answer", { fill: COLOUR[modality], class: "small" }));
  return marks;
}

function overTime(state, layout) {
  const { about, shown, masked } = state, { rows, height, at } = layout, marks = [];
  for (const row of rows) {
    const end = row.top + row.height;
    const cue = about.cues?.[row.modality];
    if (cue && row.kind !== "input") marks.push(rect(at(cue[0]), row.top, at(cue[1]) - at(cue[0]), row.height, { fill: "#dedede" }));
    if (row.kind === "received") marks.push(...received(row, at, shown, about));
    if (row.kind === "scores") marks.push(...scores(row, at, shown, about));
    if (row.kind === "input" && !rows.some(({ kind, modality }) => kind !== "input" && modality === row.modality))
      marks.push(text(LEFT, row.top - 5, row.modality, { fill: COLOUR[row.modality], class: "title" }));
    if (cue && row.kind === "input") {
      marks.push(rect(at(cue[0]), end, at(cue[1]) - at(cue[0]), 4, { fill: INK }));
      marks.push(text(at(cue[1]) + 4, end + 6, "cue (truth)", { class: "small halo" }));
    }
    for (const [start, stop] of masked[row.modality] ?? [])
      marks.push(rect(at(start), row.top, at(stop) - at(start), row.height, { class: "masked", fill: "url(#avlib-masked)" }));
  }
  const axis = height - 30;
  for (let k = 0; k <= 4; k++) {
    const time = (k * about.length) / 4;
    marks.push(line(at(time), axis, at(time), axis + 4));
    marks.push(text(at(time), axis + 15, time.toFixed(about.length > 1 ? 1 : 2), { "text-anchor": "middle", class: "small" }));
  }
  marks.push(text(at(about.length / 2), axis + 27, about.label, { "text-anchor": "middle", class: "small" }));
  return marks.join("");
}

// ---- what it says ----------------------------------------------------------------------------------------------------

function bars(state, width) {
  const { about, shown } = state, marks = [], [low, high] = about.range, many = shown.networks.length;
  const tall = Math.min(19, 152 / about.names.length), left = about.sentiment ? 4 : 64, head = 30 + 13 * many;
  const conditions = Object.keys(SAID).filter((name) => shown.networks.some(({ outputs }) => name in outputs));
  const column = (width - left) / conditions.length, wide = column - 10;
  const x = (value) => ((value - low) / (high - low)) * wide, zero = x(Math.max(0, low));
  about.names.forEach((name, k) => {
    if (about.sentiment) return;
    const right = name === about.truth;
    marks.push(text(left - 5, head + (k + 0.5) * tall + 4, (right ? "▸ " : "") + name, { "text-anchor": "end", class: right ? "small true" : "small" }));
  });
  conditions.forEach((condition, place) => {
    const from = left + place * column;
    marks.push(text(from, 12, `${SAID[condition]} (${condition})`, { fill: COLOUR[condition], class: "title" }));
    shown.networks.forEach(({ outputs, before, label }, order) => {
      const now = outputs[condition];
      if (!now) return;
      const best = now.indexOf(Math.max(...now)), y = 26 + 13 * order;
      const said = about.sentiment ? now[0].toFixed(2) : `${about.names[best]} ${(100 * now[best]).toFixed(0)}%`;
      const judged = about.sentiment ? "" : about.names[best] === about.truth ? " ✓" : " ✗";
      marks.push(text(from, y, said + judged, { class: "said", "data-said": `${order}-${condition}` }));
      now.forEach((value, k) => {
        const top = head + k * tall + 1.5 + (order * (tall - 3)) / many, height = (tall - 3) / many;
        const more = order ? { fill: "url(#avlib-second)", stroke: COLOUR[condition] } : { fill: COLOUR[condition] };
        marks.push(rect(from, top, wide, height, { fill: "#f0f0f0" }));
        marks.push(rect(from + Math.min(zero, x(value)), top, Math.abs(x(value) - zero), height, { ...more, class: "bar", "data-bar": `${order}-${condition}-${k}` }));
        const old = before.outputs[condition]?.[k];
        if (old !== undefined) marks.push(line(from + x(old), top - 1, from + x(old), top + height + 1, { "stroke-width": 2 }));
      });
    });
  });
  const foot = head + about.names.length * tall + 14;
  const truth = about.sentiment ? `true: ${about.truth}. ` : "▸ true. ";
  marks.push(text(0, foot, truth + (many > 1 ? "Upper bar: first network; lower: beside. " : "") + "❘ before any change", { class: "small quiet" }));
  return { marks: marks.join(""), height: foot + 6 };
}

function mapFrame(network, box, about, order, many) {
  const { left, top, width, height } = box, marks = [];
  marks.push(rect(left, top, width, height, { fill: "none", stroke: "#bbbbbb" }));
  const name = many > 1 ? `attention, ${order ? "beside" : "first"}` : `attention, ${network.map_name}`;
  marks.push(text(left, top - 5, name, { class: "small title" }));
  const colours = many > 1 ? "" : "; coloured: above even, grey: below";
  const key = `key: ${network.map_key}, 0 to ${Number(about.length.toFixed(1))} ${about.unit}${colours}`;
  marks.push(text(left + width / 2, top + height + 12, key, { "text-anchor": "middle", class: "small" }));
  const [x, y] = [left - 6, top + height / 2];
  if (!order) marks.push(text(x, y, `query: ${network.map_query}`, { "text-anchor": "middle", class: "small", transform: `rotate(-90 ${x} ${y})` }));
  return marks.join("");
}

// ---- the widget ------------------------------------------------------------------------------------------------------

const FRAME = `
<div class="avlib-live" data-lm-suppress-shortcuts="true">
  <div class="time" tabindex="0" role="application"
    aria-label="Clip over time. Arrows move the cursor, Space plays, Shift and arrows mask audio, Alt and arrows video, Delete unmasks.">
    <canvas></canvas><svg class="marks"></svg><svg class="cursor"><line stroke="#d000d0" stroke-width="2"/></svg>
  </div>
  <div class="said"><svg class="bars" role="img"></svg>
    <div class="maps"><canvas></canvas><svg class="marks"></svg><svg class="cursor"></svg></div>
    <div class="player"><button class="play" aria-label="play or pause (Space)">▶ play</button><span class="clock"></span></div>
  </div>
  <svg class="patterns" width="0" height="0"><defs>
    <pattern id="avlib-masked" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <rect width="8" height="8" fill="#222222" fill-opacity="0.55"/><rect width="3" height="8" fill="#ffffff" fill-opacity="0.5"/></pattern>
    <pattern id="avlib-second" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <rect width="5" height="5" fill="#ffffff"/><rect width="2" height="5" fill="#333333"/></pattern>
  </defs></svg>
</div>`;

function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

export default {
  render({ model, el }) {
    el.innerHTML = FRAME;
    const find = (selector) => el.querySelector(selector);
    const root = find(".avlib-live"), time = find(".time"), cursor = find(".time .cursor line"), audio = new Audio();
    const pictures = new Map();  // view of the bytes -> picture
    let layout, boxes = [], turn = 0, position = 0, drag = null, heard = null;

    async function picture(view) {
      if (!view?.byteLength) return null;
      const type = view.getUint8(0) === 0xff ? "image/jpeg" : "image/png";
      if (!pictures.has(view)) pictures.set(view, await createImageBitmap(new Blob([view], { type })));
      return pictures.get(view);
    }

    async function draw() {
      const mine = ++turn, state = Object.fromEntries(["about", "shown", "masked"].map((name) => [name, model.get(name)]));
      if (!state.shown.networks?.length) return;
      const views = [model.get("seen"), model.get("heard"), ...state.shown.networks.map(({ map }) => map)];
      const [seen, sounds, ...maps] = await Promise.all(views.map(picture));
      if (mine !== turn) return;  // a newer one is on its way
      for (const view of pictures.keys()) if (!views.includes(view)) pictures.delete(view);
      const width = time.clientWidth || 700, at = (seconds) => LEFT + (seconds / state.about.length) * (width - LEFT - RIGHT);
      layout = { ...rowsOf(state.about, state.shown, width), at, width };
      time.style.height = `${layout.height}px`;
      const canvas = sized(find(".time canvas"), width, layout.height);
      for (const { kind, modality, top, height } of layout.rows) {
        const image = modality === "video" ? seen : sounds;
        if (kind !== "input" || !image) continue;
        const whole = width - LEFT - RIGHT, count = modality === "video" ? state.about.pictures : 0;
        canvas.imageSmoothingEnabled = count > 0;
        if (!count) canvas.drawImage(image, LEFT, top, whole, height);
        const share = whole / count, side = Math.min(height, share - 2), from = image.width / count;
        for (let k = 0; k < count; k++)
          canvas.drawImage(image, k * from, 0, from, image.height, LEFT + (k + 0.5) * share - side / 2, top, side, side);
      }
      find(".time .marks").innerHTML = overTime(state, layout);
      drawSaid(state, maps);
      place(position);
      root.dataset.drawn = Number(root.dataset.drawn ?? 0) + 1;
    }

    function drawSaid(state, maps) {
      const { about, shown } = state, wide = find(".said").clientWidth || 380, said = bars(state, wide);
      find(".bars").setAttribute("height", said.height);
      find(".bars").innerHTML = said.marks;
      const drawn = shown.networks.filter((network, order) => maps[order]), share = (wide - 16) / (drawn.length || 1);
      const tall = drawn.length ? 165 : 0, context = sized(find(".maps canvas"), wide, tall);
      find(".maps").style.height = `${tall}px`;
      context.imageSmoothingEnabled = false;
      boxes = drawn.map((network, order) => ({ left: 16 + order * share, top: 16, width: share - 12, height: tall - 32 }));
      boxes.forEach(({ left, top, width, height }, order) =>
        context.drawImage(maps[shown.networks.indexOf(drawn[order])], left, top, width, height));
      find(".maps .marks").innerHTML = drawn.map((network, order) => mapFrame(network, boxes[order], about, order, drawn.length)).join("");
    }

    function place(seconds) {
      const { length, unit } = model.get("about");
      position = Math.min(Math.max(0, seconds), length);
      if (!layout) return;
      const x = layout.at(position);
      for (const [name, value] of Object.entries({ x1: x, x2: x, y1: 0, y2: layout.height - 28 })) cursor.setAttribute(name, value);
      find(".maps .cursor").innerHTML = boxes.map(({ left, top, width, height }) => {
        const x = left + (position / length) * width, y = top + height - (position / length) * height, pink = { stroke: "#d000d0" };
        return line(x, top, x, top + height, pink) + line(left, y, left + width, y, pink);
      }).join("");
      find(".clock").textContent = `${position.toFixed(2)} ${unit === "s" ? "s" : "of the clip"}`;
      root.dataset.cursor = position.toFixed(3);
    }

    // the sound
    function load() {
      const sound = model.get("sound"), wanted = sound?.byteLength ? sound : null;
      audio.volume = model.get("volume");
      find(".play").hidden = !wanted;
      if (wanted === heard) return;
      const playing = !audio.paused;
      if (audio.src) URL.revokeObjectURL(audio.src);
      heard = wanted;
      if (!wanted) return void audio.removeAttribute("src");
      audio.src = URL.createObjectURL(new Blob([wanted], { type: "audio/wav" }));
      audio.currentTime = position < model.get("about").length - 0.05 ? position : 0;
      if (playing) audio.play();
    }
    function follow() {
      place(audio.currentTime);
      find(".play").textContent = audio.paused ? "▶ play" : "❚❚ pause";
      if (!audio.paused) requestAnimationFrame(follow);
    }
    function toggle() {
      if (!heard) return;
      if (!audio.paused) return audio.pause();
      if (position >= model.get("about").length - 0.05) place(0);
      audio.currentTime = position;
      audio.play();
    }
    function seek(seconds) {
      place(seconds);
      if (heard) audio.currentTime = position;
    }
    audio.addEventListener("play", follow);
    audio.addEventListener("pause", follow);
    find(".play").addEventListener("click", toggle);

    // masks
    function mask(modality, spans) {
      model.set("masked", { ...model.get("masked"), [modality]: spans });
      model.save_changes();
    }
    function joined(spans) {  // those that overlap become one
      const found = [];
      for (const [start, stop] of spans.map(([a, b]) => [Math.min(a, b), Math.max(a, b)]).sort((a, b) => a[0] - b[0]))
        if (found.length && start <= found.at(-1)[1]) found.at(-1)[1] = Math.max(stop, found.at(-1)[1]);
        else found.push([start, stop]);
      return found.map((span) => span.map((value) => Math.round(100 * value) / 100));
    }
    const seconds = (event) => {
      const x = event.clientX - time.getBoundingClientRect().left, { length } = model.get("about");
      return Math.min(Math.max(0, ((x - LEFT) / (layout.width - LEFT - RIGHT)) * length), length);
    };
    time.addEventListener("pointerdown", (event) => {
      if (!layout || event.button) return;
      const y = event.clientY - time.getBoundingClientRect().top;
      const row = layout.rows.find(({ top, height }) => y >= top - 2 && y <= top + height + 2);
      drag = { modality: row?.modality, from: seconds(event), x: event.clientX, old: model.get("masked")[row?.modality] ?? [] };
      time.setPointerCapture(event.pointerId);
    });
    time.addEventListener("pointermove", (event) => {
      if (drag?.modality && (drag.moved ||= Math.abs(event.clientX - drag.x) > 3))
        mask(drag.modality, joined([...drag.old, [drag.from, seconds(event)]]));
    });
    time.addEventListener("pointerup", (event) => {
      const done = drag;
      drag = null;
      if (!done || done.moved) return;
      const left = done.old.filter(([start, stop]) => done.from < start || done.from > stop);
      if (left.length < done.old.length) mask(done.modality, left);
      else seek(done.from);
    });
    time.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key], { length } = model.get("about");
      const modality = event.shiftKey ? "audio" : event.altKey ? "video" : null;
      if (way) {
        const from = position;
        seek(position + (way * length) / 36);
        if (modality) mask(modality, joined([...(model.get("masked")[modality] ?? []), [from, position]]));
      } else if (event.key === " ") toggle();
      else if (event.key === "Delete" || event.key === "Backspace") {
        model.set("masked", { audio: [], video: [] });
        model.save_changes();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });

    // saving
    model.on("msg:custom", (message, buffers) => {
      if (!message.download) return;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" }));
      link.download = message.download;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });

    model.on("change", () => (load(), draw()));
    const watch = new ResizeObserver(() => draw());
    watch.observe(time);
    load();
    draw().then(() => model.send({ shown: true }));
    return () => (audio.pause(), watch.disconnect());
  },
};
