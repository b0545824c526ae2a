// The explorer's figure: the clip over time, the attention on it, and the answers of one network or two.
//
// It draws alone: `render({ model, el })` needs the traits that widget.py lists (`view` as `as_drawn` makes it, pictures
// and sound as DataViews), from a kernel or from any object with get, set, save_changes, on and send.

const LEFT = 38, RIGHT = 12, CURSOR = "#d000d0";

const escape = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const tag = (name, attributes, inside = "") =>
  `<${name} ${Object.entries(attributes).map(([key, value]) => `${key}="${escape(value)}"`).join(" ")}>${inside}</${name}>`;
const rect = (x, y, width, height, more) =>
  tag("rect", { x, y, width: Math.max(0, width), height: Math.max(0, height), ...more });
const line = (x1, y1, x2, y2, more) => tag("line", { x1, y1, x2, y2, stroke: "currentColor", ...more });
const text = (x, y, words, more = {}) => tag("text", { x, y, fill: "currentColor", ...more }, escape(words));
const path = (points, more) =>
  tag("path", { d: "M" + points.map((point) => point.map((v) => v.toFixed(1)).join(",")).join("L"), fill: "none", stroke: "currentColor", ...more });

// ---- over time -------------------------------------------------------------------------------------------------------

function rowsOf(view, width) {
  const rows = [], [{ vectors, scores }] = view.networks;
  const faces = view.frames ? Math.min(76, (width - LEFT - RIGHT) / view.frames) : 46;
  let top = 0;
  for (const modality of ["video", "audio"]) {
    const add = (kind, gap, height) => rows.push({ kind, modality, top: (top += gap), height }) && (top += height);
    if (modality in vectors) add("attention", 17, scores ? 46 : 66);
    if (scores?.[modality]) add("scores", 15, 36);
    add("input", rows.at(-1)?.modality === modality ? 3 : 17, modality === "video" ? faces : scores ? 66 : 104);
    top += 4;
  }
  return { rows, height: top + 30 };
}

// Bars for few steps, a line for many; the second network and the state before the change are lines over them.
function attention({ modality, top, height }, at, view) {
  const { networks, clock, colours } = view, marks = [], floor = top + height;
  const vectors = networks.flatMap((network) => [network.vectors[modality], network.before.vectors[modality]]);
  const most = Math.max(2, ...vectors.flatMap((vector) => vector ?? [])), y = (value) => floor - (value / most) * height;
  networks.forEach((network, order) => {
    const vector = network.vectors[modality], before = network.before.vectors[modality];
    if (!vector) return;
    const times = network.times[modality], few = vector.length <= 30;
    const half = 0.46 * (at((times.at(-1) - times[0]) / (times.length - 1 || 1)) - at(0));
    const points = (values) => values.map((value, k) => [at(times[k]), y(value)]);
    const bar = ([x, tip]) => rect(x - half, Math.min(y(1), tip), 2 * half, Math.abs(tip - y(1)), { fill: colours[modality] });
    const curve = (values, look) => few ? points(values).map(([x, y]) => line(x - half, y, x + half, y, look)) : [path(points(values), look)];
    if (order) marks.push(...curve(vector, { "stroke-width": few ? 2.5 : 1.6, "stroke-dasharray": few ? "none" : "4 3" }));
    else marks.push(...(few ? points(vector).map(bar) : curve(vector, { stroke: colours[modality], "stroke-width": 1.6 })));
    if (!order && before) marks.push(...curve(before, { stroke: colours.quiet, "stroke-width": few ? 1.5 : 1 }));
  });
  marks.push(line(LEFT, y(1), at(clock.length), y(1), { "stroke-dasharray": "4 3", "stroke-width": 0.8 }));
  for (const value of [0, 1, Math.floor(most)])
    marks.push(text(LEFT - 5, y(value) + 4, value, { "text-anchor": "end", class: "small" }));
  marks.push(text(LEFT, top - 5, `${modality}: attention received (1 = even)`, { fill: view.text[colours[modality]], class: "title" }));
  return marks;
}

function scores({ modality, top, height }, at, { networks, clock, colours, times, text: dark }) {
  const values = networks[0].scores[modality], fill = colours[modality], middle = top + height / 2;
  const most = Math.max(1e-9, ...values.map(Math.abs)), step = (at(clock.length) - LEFT) / values.length;
  const marks = values.map((value, k) => {
    const tip = middle - (value / most) * height / 2;
    return rect(at(times[modality][k]) - 0.46 * step, Math.min(middle, tip), 0.92 * step, Math.abs(tip - middle), { fill });
  });
  marks.push(line(LEFT, middle, at(clock.length), middle, { "stroke-width": 0.8 }));
  marks.push(text(LEFT, top - 4, "integrated gradients: up speaks for the answer", { fill: dark[fill], class: "small" }));
  return marks;
}

function overTime(view, masked, { rows, height, at }) {
  const { clock, colours, cues } = view, marks = [];
  for (const row of rows) {
    const { kind, modality, top } = row, cue = cues[modality];
    const span = ([start, stop], y, height, look) => rect(at(start), y, at(stop) - at(start), height, look);
    if (cue && kind !== "input") marks.push(span(cue, top, row.height, { fill: colours.shade }));
    if (kind === "attention") marks.push(...attention(row, at, view));
    if (kind === "scores") marks.push(...scores(row, at, view));
    if (kind === "input" && !rows.some((other) => other.kind !== "input" && other.modality === modality))
      marks.push(text(LEFT, top - 5, modality, { fill: view.text[colours[modality]], class: "title" }));
    if (cue && kind === "input") {
      marks.push(span(cue, top + row.height, 4, { fill: "currentColor" }));
      marks.push(text(at(cue[1]) + 4, top + row.height + 6, "cue (truth)", { class: "small halo" }));
    }
    for (const spans of masked[modality] ?? [])
      marks.push(span(spans, top, row.height, { class: "masked", fill: "url(#avlib-masked)" }));
  }
  const axis = height - 30, centred = { "text-anchor": "middle", class: "small" };
  for (let k = 0; k <= 4; k++) {
    const time = (k * clock.length) / 4;
    marks.push(line(at(time), axis, at(time), axis + 4));
    marks.push(text(at(time), axis + 15, time.toFixed(clock.length > 1 ? 1 : 2), centred));
  }
  marks.push(text(at(clock.length / 2), axis + 27, clock.label, centred));
  return marks.join("");
}

// ---- the answers -----------------------------------------------------------------------------------------------------

function bars(view, width) {
  const { names, truth, networks, range: [low, high] } = view, marks = [], isScore = names.length === 1;
  const longest = Math.max(...names.map((name) => name.length)), left = isScore ? 4 : Math.max(64, Math.min(width / 3, 5 + 6.5 * longest));
  const tall = Math.min(19, 152 / names.length), head = 30 + 13 * networks.length;
  const conditions = Object.entries(view.conditions), column = (width - left) / conditions.length, wide = column - 10;
  const x = (value) => ((value - low) / (high - low)) * wide, zero = x(Math.max(0, low));
  const answer = (values) => {
    const best = names[values.indexOf(Math.max(...values))];
    if (isScore) return values[0].toFixed(2);
    return `${best} ${(100 * Math.max(...values)).toFixed(0)}% ${best === truth ? "✓" : "✗"}`;
  };
  if (!isScore)
    names.forEach((name, k) => {
      const look = { "text-anchor": "end", class: name === truth ? "small true" : "small" };
      marks.push(text(left - 5, head + (k + 0.5) * tall + 4, (name === truth ? "▸ " : "") + name, look));
    });
  conditions.forEach(([condition, [colour, meaning]], place) => {
    const from = left + place * column;
    const title = `${condition} ${7 * meaning.length + 30 < column ? meaning : meaning.split(" ")[0]}`;
    marks.push(text(from, 12, title, { fill: view.text[colour], class: "title" }));
    networks.forEach(({ outputs, before }, order) => {
      const values = outputs[condition];
      if (!values) return;
      marks.push(text(from, 26 + 13 * order, answer(values), { class: "answer" }));
      values.forEach((value, k) => {
        const height = (tall - 3) / networks.length, top = head + k * tall + 1.5 + order * height;
        const look = order ? { fill: "url(#avlib-second)", stroke: colour } : { fill: colour };
        marks.push(rect(from, top, wide, height, { fill: "#f0f0f0" }));
        marks.push(rect(from + Math.min(zero, x(value)), top, Math.abs(x(value) - zero), height, { ...look, class: "bar" }));
        const old = before.outputs[condition]?.[k];
        if (old !== undefined) marks.push(line(from + x(old), top - 1, from + x(old), top + height + 1, { "stroke-width": 2 }));
      });
    });
  });
  const foot = head + names.length * tall + 14, key = isScore ? `true: ${truth}. ` : "▸ true. ";
  const two = networks.length > 1 ? "Upper bar: first network; lower: beside. " : "";
  marks.push(text(0, foot, `${key}${two}❘ before any change`, { class: "small quiet" }));
  return { marks: marks.join(""), height: foot + 6 };
}

const networkMaps = ({ networks }) =>
  networks.filter(({ map }) => map).map(({ label, map }) => `attention map of ${label}: ${map.name}`).join("; ") || "no map";

function mapFrame({ map }, { left, top, width, height }, clock, order, count) {
  const name = count > 1 ? `${map.name}: ${order ? "beside" : "first"}` : map.name;
  const colours = count > 1 ? "" : "; coloured: above even, grey: below";
  const key = `key: ${map.key}, 0 to ${Number(clock.length.toFixed(1))} ${clock.unit}${colours}`;
  const [x, y] = [left - 6, top + height / 2], centred = { "text-anchor": "middle", class: "small" };
  const marks = [rect(left, top, width, height, { fill: "none", stroke: "#bbbbbb" })];
  marks.push(text(left, top - 5, name, { class: "small title" }));
  marks.push(text(left + width / 2, top + height + 12, key, centred));
  if (!order) marks.push(text(x, y, `query: ${map.query}`, { ...centred, transform: `rotate(-90 ${x} ${y})` }));
  return marks.join("");
}

// ---- the widget ------------------------------------------------------------------------------------------------------

const FRAME = `
<div class="avlib-figure" data-lm-suppress-shortcuts="true"><div class="heading" aria-live="polite"></div>
  <div class="time" tabindex="0" role="application"
    aria-label="Clip over time. Arrows move the cursor, Space plays, Shift and arrows mask audio, Alt and arrows video, Delete unmasks.">
    <canvas></canvas><svg class="marks"></svg><svg class="cursor"></svg>
  </div>
  <div class="answers"><svg class="bars" role="img"></svg>
    <div class="maps" role="img"><canvas></canvas><svg class="marks"></svg><svg class="cursor"></svg></div>
    <div class="player"><button class="play" aria-label="play or pause (Space)">▶ play</button><span class="clock"></span></div>
  </div>
  <svg class="patterns" width="0" height="0"><defs>
    <pattern id="avlib-masked" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <rect width="8" height="8" fill="#222222" fill-opacity="0.55"/><rect width="3" height="8" fill="#ffffff" fill-opacity="0.5"/></pattern>
    <pattern id="avlib-second" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <rect width="5" height="5" fill="#ffffff"/><rect width="2" height="5" fill="#333333"/></pattern>
  </defs></svg>
</div>`;

// A drawing of this size in units, each `unit` pixels of the page.
function sized(canvas, width, height, unit) {
  const scale = (window.devicePixelRatio || 1) * unit;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  canvas.style.width = `${width * unit}px`;
  canvas.style.height = `${height * unit}px`;
  for (const svg of canvas.parentNode.querySelectorAll("svg")) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

export default {
  render({ model, el }) {
    el.innerHTML = FRAME;
    const find = (selector) => el.querySelector(selector);
    const root = find(".avlib-figure"), time = find(".time"), audio = new Audio();
    const pictures = new Map();  // bytes -> picture
    let layout, unit = 1, boxes = [], turn = 0, position = 0, drag = null, loaded = null;
    const clock = () => model.get("view").clock;

    async function picture(bytes) {  // of a kernel, or the ImageData of the page
      if (!bytes?.byteLength && !bytes?.data) return null;
      const source = () => (bytes.data ? bytes : new Blob([bytes], { type: bytes.getUint8(0) === 0xff ? "image/jpeg" : "image/png" }));
      if (!pictures.has(bytes)) pictures.set(bytes, await createImageBitmap(source()));
      return pictures.get(bytes);
    }

    // A new picture replaces the old one when all of the step is ready.
    async function draw() {
      const own = ++turn, view = model.get("view"), masked = model.get("masked");
      if (!view.networks?.length) return;
      const bytes = [model.get("video"), model.get("audio"), ...view.networks.map(({ map }) => map?.png)];
      const [video, sound, ...maps] = await Promise.all(bytes.map(picture));
      if (own !== turn) return;  // a newer step is on its way
      for (const old of pictures.keys()) if (!bytes.includes(old)) pictures.delete(old);
      root.style.color = view.colours.ink;
      fit();
      const width = (time.clientWidth || 700) / unit, span = width - LEFT - RIGHT;
      layout = { ...rowsOf(view, width), width, at: (seconds) => LEFT + (seconds / view.clock.length) * span };
      time.style.height = `${layout.height * unit}px`;
      const canvas = sized(find(".time canvas"), width, layout.height, unit);
      for (const { kind, modality, top, height } of layout.rows) {
        const image = modality === "video" ? video : sound, frames = modality === "video" ? view.frames : 0;
        if (kind !== "input" || !image) continue;
        canvas.imageSmoothingEnabled = frames > 0;
        if (!frames) canvas.drawImage(image, LEFT, top, span, height);
        const share = span / frames, side = Math.min(height, share - 2), from = image.width / frames;
        for (let k = 0; k < frames; k++)
          canvas.drawImage(image, k * from, 0, from, image.height, LEFT + (k + 0.5) * share - side / 2, top, side, side);
      }
      find(".heading").textContent = view.title;
      find(".bars").setAttribute("aria-label", view.words);
      find(".maps").setAttribute("aria-label", networkMaps(view));
      find(".time .marks").innerHTML = overTime(view, masked, layout);
      drawAnswers(view, maps);
      place(position);
      root.dataset.drawn = Number(root.dataset.drawn ?? 0) + 1;
    }

    // Text grows with the width, for projectors; below 760 units the answers stand under the clip.
    function fit() {
      const width = root.clientWidth || 1000;
      const most = Math.min(width / 1100, window.innerHeight / 720, 2);
      unit = width < 400 ? width / 400 : Math.max(1, most);
      root.style.setProperty("--unit", `${unit}px`);
      root.classList.toggle("narrow", width / unit < 760);
      for (const row of root.closest(".avlib-explorer")?.querySelectorAll(".widget-hslider") ?? [])
        row.querySelector(".noUi-handle")?.setAttribute("aria-label", row.querySelector("label")?.textContent ?? "");
    }

    function drawAnswers(view, maps) {
      const width = (find(".answers").clientWidth || 380) / unit, { marks, height } = bars(view, width);
      find(".bars").setAttribute("height", height * unit);
      find(".bars").setAttribute("viewBox", `0 0 ${width} ${height}`);
      find(".bars").innerHTML = marks;
      const networks = view.networks.filter((network, order) => maps[order]), images = maps.filter((map) => map);
      const share = (width - 16) / (networks.length || 1), tall = networks.length ? 165 : 0;
      const canvas = sized(find(".maps canvas"), width, tall, unit);
      find(".maps").style.height = `${tall * unit}px`;
      canvas.imageSmoothingEnabled = false;
      boxes = networks.map((_, order) => ({ left: 16 + order * share, top: 16, width: share - 12, height: tall - 32 }));
      boxes.forEach(({ left, top, width, height }, order) => canvas.drawImage(images[order], left, top, width, height));
      const frames = networks.map((network, order) => mapFrame(network, boxes[order], view.clock, order, networks.length));
      find(".maps .marks").innerHTML = frames.join("");
    }

    function place(seconds) {
      const { length, words } = clock();
      position = Math.min(Math.max(0, seconds), length);
      if (!layout) return;
      const x = layout.at(position);
      find(".time .cursor").innerHTML = line(x, 0, x, layout.height - 28, { stroke: CURSOR, "stroke-width": 2 });
      find(".maps .cursor").innerHTML = boxes.map(({ left, top, width, height }) => {
        const x = left + (position / length) * width, y = top + height - (position / length) * height, look = { stroke: CURSOR };
        return line(x, top, x, top + height, look) + line(left, y, left + width, y, look);
      }).join("");
      find(".clock").textContent = `${position.toFixed(2)} ${words}`;
      root.dataset.cursor = position.toFixed(3);
    }

    // the sound
    function load() {
      const sound = model.get("sound"), bytes = sound?.byteLength ? sound : null;
      audio.volume = model.get("volume");
      find(".play").hidden = !bytes;
      if (bytes === loaded) return;
      const playing = !audio.paused;
      if (audio.src) URL.revokeObjectURL(audio.src);
      loaded = bytes;
      if (!bytes) return void audio.removeAttribute("src");
      audio.src = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
      audio.currentTime = position < clock().length - 0.05 ? position : 0;
      if (playing) audio.play();
    }
    function follow() {
      place(audio.currentTime);
      find(".play").textContent = audio.paused ? "▶ play" : "❚❚ pause";
      if (!audio.paused) requestAnimationFrame(follow);
    }
    function toggle() {
      if (!loaded) return;
      if (!audio.paused) return audio.pause();
      if (position >= clock().length - 0.05) place(0);
      audio.currentTime = position;
      audio.play();
    }
    function seek(seconds) {
      place(seconds);
      if (loaded) audio.currentTime = position;
    }
    audio.addEventListener("play", follow);
    audio.addEventListener("pause", follow);
    find(".play").addEventListener("click", toggle);

    // masks
    function mask(modality, spans) {
      model.set("masked", { ...model.get("masked"), [modality]: spans });
      model.save_changes();
    }
    function joined(spans) {  // overlapping spans become one
      const apart = [];
      for (const [start, stop] of spans.map(([a, b]) => [Math.min(a, b), Math.max(a, b)]).sort((a, b) => a[0] - b[0]))
        if (apart.length && start <= apart.at(-1)[1]) apart.at(-1)[1] = Math.max(stop, apart.at(-1)[1]);
        else apart.push([start, stop]);
      return apart.map((span) => span.map((value) => Math.round(100 * value) / 100));
    }
    const seconds = (event) => {
      const x = (event.clientX - time.getBoundingClientRect().left) / unit, { length } = clock();
      return Math.min(Math.max(0, ((x - LEFT) / (layout.width - LEFT - RIGHT)) * length), length);
    };
    time.addEventListener("pointerdown", (event) => {
      if (!layout || event.button) return;
      const y = (event.clientY - time.getBoundingClientRect().top) / unit;
      const row = layout.rows.find(({ top, height }) => y >= top - 2 && y <= top + height + 2);
      drag = { modality: row?.modality, from: seconds(event), x: event.clientX, old: model.get("masked")[row?.modality] ?? [] };
      time.setPointerCapture(event.pointerId);
    });
    time.addEventListener("pointermove", (event) => {
      if (drag?.modality && (drag.moved ||= Math.abs(event.clientX - drag.x) > 3))
        mask(drag.modality, joined([...drag.old, [drag.from, seconds(event)]]));
    });
    time.addEventListener("pointerup", (event) => {
      const ended = drag;
      drag = null;
      if (!ended || ended.moved) return;
      const others = ended.old.filter(([start, stop]) => ended.from < start || ended.from > stop);
      if (others.length < ended.old.length) mask(ended.modality, others);
      else seek(ended.from);
    });
    time.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key], { length } = clock();
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
    watch.observe(root);
    load();
    draw().then(() => model.send({ shown: true }));
    return () => (audio.pause(), watch.disconnect());
  },
};
