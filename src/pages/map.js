"use strict";
// The map: points drawn by WebGL2, pictures over them when few are in view, a lasso, and lines to the true neighbours of a point.
(() => {
  const root = document.querySelector("#map-view");
  if (!root) return;
  const data = JSON.parse(document.querySelector("#map-data").textContent);
  const decode = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
  // 12 bytes a point: x, y, class (u16 each), right and split, learner from 1 (u8 each), id (u32).
  const bytes = new DataView(decode(data.points));
  const n = bytes.byteLength / 12;
  const x = new Float32Array(n), y = new Float32Array(n), ids = new Uint32Array(n);
  const classes = new Uint16Array(n), flags = new Uint8Array(n), learners = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    x[i] = bytes.getUint16(i * 12, true) / 32767.5 - 1;
    y[i] = bytes.getUint16(i * 12 + 2, true) / 32767.5 - 1;
    classes[i] = bytes.getUint16(i * 12 + 4, true);
    flags[i] = bytes.getUint8(i * 12 + 6);
    learners[i] = bytes.getUint8(i * 12 + 7);
    ids[i] = bytes.getUint32(i * 12 + 8, true);
  }
  const neighbours = new Uint32Array(decode(data.neighbours));
  const clusters = new Uint8Array(decode(data.clusters));
  const k = neighbours.length / n;
  // Pictures below the map.
  const SHOWN = 200;

  const canvas = root.querySelector("canvas"), over = root.querySelector("canvas.over");
  const pictures = root.querySelector(".over-pictures"), picked = document.querySelector("#picked"), said = root.querySelector("[name=said]");
  const gl = canvas.getContext("webgl2", { antialias: true, premultipliedAlpha: true, preserveDrawingBuffer: true });
  if (!gl) {
    said.textContent = "This browser has no WebGL 2, which the map needs.";
    return;
  }
  const compile = (type, source) => {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    return shader;
  };
  const program = gl.createProgram();
  gl.attachShader(program, compile(gl.VERTEX_SHADER, `#version 300 es
    in vec2 at; in vec4 colour; uniform vec4 view; uniform float size; out vec4 c;
    void main() { gl_Position = vec4(at * view.xy + view.zw, 0, 1); gl_PointSize = size; c = colour; }`));
  gl.attachShader(program, compile(gl.FRAGMENT_SHADER, `#version 300 es
    precision mediump float; in vec4 c; out vec4 o;
    void main() { float r = length(gl_PointCoord - 0.5); if (r > 0.5) discard; o = vec4(c.rgb, 1) * c.a * smoothstep(0.5, 0.4, r); }`));
  gl.linkProgram(program);
  gl.useProgram(program);
  const buffer = (values, name, size, type, scaled) => {
    const made = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, made);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    const place = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, scaled, 0, 0);
    return made;
  };
  const places = new Float32Array(2 * n);
  for (let i = 0; i < n; i++) places.set([x[i], y[i]], 2 * i);
  buffer(places, "at", 2, gl.FLOAT, false);
  const colours = new Uint8Array(4 * n);
  const coloured = buffer(colours, "colour", 4, gl.UNSIGNED_BYTE, true);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);

  // Colours: hues a golden angle apart, or those of the page for right and wrong.
  const parse = (colour) => {
    const probe = document.createElement("i");
    probe.style.color = colour;
    document.body.append(probe);
    const found = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    probe.remove();
    return found;
  };
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const cache = new Map();
  const hue = (number) => {
    if (!cache.has(number)) cache.set(number, parse(`hsl(${(number * 137.508) % 360} 65% ${dark ? 62 : 45}%)`));
    return cache.get(number);
  };
  const named = Object.fromEntries(["right", "wrong", "junk"].map((name) => [name, parse(`var(--${name})`)]));
  // Each way of colouring: the number of a point's colour, the colour of a number, and its name. Classes are too many for a legend.
  const kinds = {
    class: { of: (i) => classes[i], colour: hue, name: (number) => data.classes[number] },
    right: {
      of: (i) => flags[i] & 3,
      colour: (number) => [named.wrong, named.right, named.junk][number],
      name: (number) => ["nearest image is of another class", "nearest image is of the same class", "not a query of this split"][number],
    },
    cluster: { of: (i) => clusters[i], colour: hue, name: (number) => `cluster ${number}` },
    split: { of: (i) => flags[i] >> 2, colour: hue, name: (number) => data.splits[number] },
    learner: {
      of: (i) => learners[i],
      colour: (number) => (number ? hue(number - 1) : named.junk),
      name: (number) => (number ? `found by learner ${number - 1} alone` : "others"),
    },
  };
  const kind = () => kinds[root.querySelector("[name=colour]").value];
  const legend = () => {
    const key = root.querySelector(".key"), counts = new Map(), shown = kind();
    key.textContent = "";
    for (let i = 0; i < n; i++) counts.set(shown.of(i), (counts.get(shown.of(i)) ?? 0) + 1);
    if (counts.size > 64) return;
    for (const number of [...counts.keys()].sort((a, b) => a - b)) {
      const entry = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = `rgb(${shown.colour(number)})`;
      entry.append(dot, `${shown.name(number)} (${counts.get(number).toLocaleString("en")})`);
      key.append(entry);
    }
  };
  let chosen = new Set(), selected = -1;
  const paint = () => {
    const { of, colour } = kind();
    for (let i = 0; i < n; i++) {
      const faint = chosen.size > 0 && !chosen.has(i);
      colours.set([...colour(of(i)), faint ? 50 : 215], 4 * i);
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, coloured);
    gl.bufferData(gl.ARRAY_BUFFER, colours, gl.STATIC_DRAW);
    draw();
  };

  // The view: a point p is drawn at p * scale + shift, in units of half the height. All points are in view at first.
  const aspect = () => canvas.clientWidth / canvas.clientHeight;
  const whole = () => 0.95 * Math.min(1, aspect() || 1);
  let scale = whole(), shift = [0, 0], lasso = null;
  const toScreen = (i) => [
    ((x[i] * scale + shift[0]) / aspect() + 1) / 2 * canvas.clientWidth,
    (1 - (y[i] * scale + shift[1])) / 2 * canvas.clientHeight,
  ];
  const inView = () => {
    const found = [];
    for (let i = 0; i < n; i++) {
      if (Math.abs(x[i] * scale + shift[0]) < aspect() && Math.abs(y[i] * scale + shift[1]) < 1) found.push(i);
    }
    return found;
  };
  const draw = () => {
    const ratio = devicePixelRatio || 1;
    for (const surface of [canvas, over]) {
      const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
      if (surface.width !== width || surface.height !== height) [surface.width, surface.height] = [width, height];
    }
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform4f(gl.getUniformLocation(program, "view"), scale / aspect(), scale, shift[0] / aspect(), shift[1]);
    gl.uniform1f(gl.getUniformLocation(program, "size"), Math.max(3, Math.min(10, (n > 20000 ? 3 : 5.5) * Math.sqrt(scale))) * ratio);
    gl.drawArrays(gl.POINTS, 0, n);
    const pen = over.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, over.width, over.height);
    if (selected >= 0) {
      const from = toScreen(selected);
      for (let rank = 0; rank < k; rank++) {
        const other = neighbours[selected * k + rank];
        if (other >= n) continue;
        pen.strokeStyle = `rgb(${named[classes[other] === classes[selected] ? "right" : "wrong"]})`;
        pen.setLineDash(classes[other] === classes[selected] ? [] : [5, 4]);
        pen.lineWidth = rank === 0 ? 2.4 : 1.4;
        pen.beginPath();
        pen.moveTo(...from);
        pen.lineTo(...toScreen(other));
        pen.stroke();
      }
      pen.setLineDash([]);
      pen.beginPath();
      pen.arc(...from, 7, 0, 7);
      pen.stroke();
    }
    if (lasso) {
      pen.setLineDash([]);
      pen.lineWidth = 1.5;
      pen.strokeStyle = `rgb(${named.junk})`;
      pen.beginPath();
      lasso.forEach((point, at) => (at ? pen.lineTo(...point) : pen.moveTo(...point)));
      pen.stroke();
    }
    clearTimeout(draw.later);
    draw.later = setTimeout(showPictures, 60);
  };
  // Pictures over the points, once fewer than 150 are in view.
  const showPictures = () => {
    pictures.textContent = "";
    const found = scale > 2 ? inView() : [];
    if (found.length > 150) return;
    for (const i of found) {
      const picture = pictureOf(i);
      const [left, top] = toScreen(i);
      picture.style.left = `${left - 20}px`;
      picture.style.top = `${top - 20}px`;
      pictures.append(picture);
    }
  };
  const pictureOf = (i) => {
    const picture = document.createElement("i");
    picture.className = `p p${ids[i]}`;
    picture.title = `${data.classes[classes[i]]} · image ${ids[i]}`;
    return picture;
  };

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const nearest = ([left, top], reach) => {
    let best = -1, least = reach * reach;
    for (let i = 0; i < n; i++) {
      const [a, b] = toScreen(i);
      const distance = (a - left) ** 2 + (b - top) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [left, top] = at(event);
    const centre = [(left / canvas.clientWidth * 2 - 1) * aspect(), 1 - top / canvas.clientHeight * 2];
    const factor = Math.exp(-event.deltaY * 0.0015);
    const next = Math.max(0.3, Math.min(200, scale * factor));
    shift = shift.map((value, axis) => centre[axis] - (centre[axis] - value) * next / scale);
    scale = next;
    draw();
  }, { passive: false });
  let start = null, moved = false;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    start = at(event);
    moved = false;
    if (event.shiftKey || root.querySelector("[name=lasso]").checked) lasso = [start];
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = at(event);
    if (!start) {
      const i = nearest(here, 8);
      const more = i < 0 || kind() === kinds.class ? "" : ` · ${kind().name(kind().of(i))}`;
      said.textContent = i < 0 ? "" : `${data.classes[classes[i]]} · image ${ids[i]}${more}`;
      return;
    }
    moved ||= Math.hypot(here[0] - start[0], here[1] - start[1]) > 4;
    if (lasso) {
      lasso.push(here);
    } else if (moved) {
      shift[0] += (here[0] - start[0]) / canvas.clientWidth * 2 * aspect();
      shift[1] -= (here[1] - start[1]) / canvas.clientHeight * 2;
      start = here;
    }
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (lasso && lasso.length > 2) {
      choose(Array.from({ length: n }, (_, i) => i).filter((i) => inside(toScreen(i), lasso)));
    } else if (!moved) {
      selected = nearest(at(event), 12);
      const found = selected < 0 ? [] : [selected, ...neighbours.subarray(selected * k, selected * k + k)].filter((i) => i < n);
      list(found, selected < 0 ? "" : `Image ${ids[selected]} and its true neighbours, nearest first`);
    }
    start = lasso = null;
    draw();
  });
  const inside = ([left, top], polygon) => {
    let is = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [ax, ay] = polygon[i], [bx, by] = polygon[j];
      if ((ay > top) !== (by > top) && left < (bx - ax) * (top - ay) / (by - ay) + ax) is = !is;
    }
    return is;
  };
  const choose = (found) => {
    chosen = new Set(found);
    list(found, found.length ? `${found.length} images in the lasso${found.length > SHOWN ? `, the first ${SHOWN} of them here` : ""}` : "");
    paint();
  };
  let listed = [];
  const list = (found, text) => {
    listed = found;
    picked.textContent = "";
    document.querySelector("#picked-title").textContent = text;
    root.querySelector("[name=csv]").classList.toggle("hidden", !found.length);
    for (const i of found.slice(0, SHOWN)) {
      const figure = document.createElement("figure");
      const query = selected >= 0 && found[0] === selected;
      figure.className = query && i !== selected ? (classes[i] === classes[selected] ? "right" : "wrong") : "query";
      const caption = document.createElement("figcaption");
      caption.textContent = data.classes[classes[i]];
      figure.append(pictureOf(i), caption);
      picked.append(figure);
    }
  };
  root.querySelector("[name=csv]").addEventListener("click", () => {
    const cell = (text) => `"${text.replaceAll('"', '""')}"`;
    const rows = listed.map((i) => `${ids[i]},${cell(data.classes[classes[i]])}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`id,class\n${rows.join("\n")}\n`], { type: "text/csv" }));
    link.download = "images.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  root.querySelector("[name=reset]").addEventListener("click", () => {
    [scale, shift, selected] = [whole(), [0, 0], -1];
    choose([]);
  });
  root.querySelector("[name=colour]").addEventListener("input", () => {
    legend();
    paint();
  });
  new ResizeObserver(draw).observe(canvas);
  legend();
  paint();
})();
