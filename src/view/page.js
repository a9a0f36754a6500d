/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the page of `skep trace --page` does. The events come as blocks of columns, deflated and in
 * base64, each in a script element that is no script; page.c writes them and has the format.
 *
 * A row keeps the events of one thread, interrupt or device, in order of time, with running sums
 * every STRIDE events. What a pixel shows is a difference of two sums, found by bisection, so a
 * frame costs the same whether a pixel stands for one event or for a hundred thousand.
 *
 * Texts come from guests and files: they are set as textContent or drawn, never parsed.
 */
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const STRIDE = 64;
const ROW = 42, RULER = 22, STRIP = 18, EVENT = 20;
const NARROWEST = 40; /* ns from edge to edge */
const INDIVIDUALLY = 1200; /* events of a row that are drawn one by one */
/* Distinct on both backgrounds, also to most who confuse red and green. */
const COLOURS = {
	light: ["#3b76c4", "#d9792b", "#2f9e6e", "#b0499b", "#c2a21c", "#17a2b8", "#cf4a4a",
		"#7d63c9", "#6b8e23", "#8c6d5a", "#4c8c8a", "#a05a2c", "#5f7388", "#d06a9c"],
	dark: ["#6ea8f2", "#f0a15c", "#55c793", "#dc86ca", "#e0c549", "#4fcbe0", "#f07f7f",
		"#ab95f0", "#a5c95a", "#c0a08c", "#7cc2c0", "#d0915f", "#9aaec4", "#f29fc6"],
};

/* --- Reading what page.c wrote. --- */

function bytesOf(base64) {
	if (Uint8Array.fromBase64)
		return Uint8Array.fromBase64(base64);
	const text = atob(base64), bytes = new Uint8Array(text.length);
	for (let i = 0; i < text.length; i++)
		bytes[i] = text.charCodeAt(i);
	return bytes;
}

async function unpack(element) {
	const packed = new Blob([bytesOf(element.textContent.trim())]);
	const stream = packed.stream().pipeThrough(new DecompressionStream("deflate"));
	const plain = new Uint8Array(await new Response(stream).arrayBuffer());
	element.remove();
	return plain;
}

const wide = new Map(); /* "column index": the few values that a double cannot hold */

/*
 * Numbers of seven bits a byte, the least first (LEB128), as columns.c's put_number() has them. They
 * go through an array of doubles: one loop for arrays of every type would be slow for all of them.
 */
function readColumn(bytes, at, count, doubles, delta, remember) {
	let sum = 0;
	for (let i = 0; i < count; i++) {
		const start = at;
		let b = bytes[at++], v = b & 127;
		for (let scale = 128; b > 127; scale *= 128) {
			b = bytes[at++];
			v += (b & 127) * scale;
		}
		if (v > Number.MAX_SAFE_INTEGER) {
			let exact = 0n;
			for (let j = at - 1; j >= start; j--)
				exact = exact << 7n | BigInt(bytes[j] & 127);
			remember(i, exact);
		}
		doubles[i] = delta ? sum += v : v;
	}
	return at;
}

function readBlock(bytes, E) {
	const words = new DataView(bytes.buffer, bytes.byteOffset);
	const first = words.getUint32(0, true), count = words.getUint32(4, true);
	const doubles = new Float64Array(count);
	/* The first event's time is whole, those behind it are differences. */
	let at = 8;
	for (const name of ["at", "kind", "thread", "device", "line", "text", "address", "value",
		"took", "rip"]) {
		at = readColumn(bytes, at, count, doubles, name === "at",
			(i, exact) => wide.set(name + " " + (first + i), exact));
		E[name].set(doubles, first);
	}
}

function makeColumns(n) {
	return {
		n, at: new Float64Array(n), kind: new Uint8Array(n), thread: new Uint16Array(n),
		device: new Uint16Array(n), line: new Uint16Array(n), text: new Uint32Array(n),
		address: new Float64Array(n), value: new Float64Array(n), took: new Float64Array(n),
		rip: new Float64Array(n),
	};
}

/* --- Words. --- */

function duration(ns) {
	const a = Math.abs(ns);
	const form = (v, unit) => v.toFixed(v < 10 ? 2 : v < 100 ? 1 : 0) + " " + unit;
	if (a < 1000)
		return Math.round(ns) + " ns";
	if (a < 1e6)
		return form(ns / 1e3, "µs");
	if (a < 1e9)
		return form(ns / 1e6, "ms");
	return form(ns / 1e9, "s");
}

/* A moment, with as many digits as a pixel is worth. */
function moment(ns, grain) {
	const [scale, unit] = ns < 1e3 && grain < 10 ? [1, "ns"] : ns < 1e6 && grain < 1e4 ?
		[1e3, "µs"] : ns < 1e9 && grain < 1e7 ? [1e6, "ms"] : [1e9, "s"];
	const digits = Math.max(0, Math.ceil(-Math.log10(Math.max(grain, 1) / scale) - 1e-9));
	return (ns / scale).toFixed(Math.min(digits, 9)) + " " + unit;
}

const counted = (n) => n.toLocaleString("en").replace(/,/g, "\u202f");
const hex = (v) => "0x" + v.toString(16);

function make(tag, className, text) {
	const e = document.createElement(tag);
	if (className)
		e.className = className;
	if (text !== undefined)
		e.textContent = text;
	return e;
}

const colourOf = (kind) => colours[head.kinds[kind].colour % colours.length];

function dot(kind) {
	const d = make("span", "dot");
	d.style.background = colourOf(kind);
	return d;
}

/* --- Rows. --- */

/* Events in order of time, and the sums of their weights by kind: one each, or the time they took. */
class Lane {
	constructor(index, byTime) {
		const kinds = head.kinds.length, n = index.length;
		this.index = index;
		this.byTime = byTime;
		this.sums = new Float64Array((Math.floor(n / STRIDE) + 1) * kinds);
		const run = new Float64Array(kinds);
		for (let i = 0; i < n; i++) {
			if (i % STRIDE === 0)
				this.sums.set(run, i / STRIDE * kinds);
			run[E.kind[index[i]]] += byTime ? E.took[index[i]] : 1;
		}
		if (n % STRIDE === 0)
			this.sums.set(run, n / STRIDE * kinds);
	}

	/* The first position, from @low on, whose event is not before @t. */
	find(t, low = 0) {
		const index = this.index;
		let high = index.length;
		while (low < high) {
			const middle = low + high >> 1;
			if (E.at[index[middle]] < t)
				low = middle + 1;
			else
				high = middle;
		}
		return low;
	}

	addUpTo(i, sign, out) {
		const kinds = out.length, block = Math.floor(i / STRIDE);
		for (let k = 0; k < kinds; k++)
			out[k] += sign * this.sums[block * kinds + k];
		for (let j = block * STRIDE; j < i; j++) {
			const e = this.index[j];
			out[E.kind[e]] += sign * (this.byTime ? E.took[e] : 1);
		}
	}

	/* The weights of positions [i, j), by kind. */
	weigh(i, j, out) {
		out.fill(0);
		if (j - i <= STRIDE) {
			for (; i < j; i++) {
				const e = this.index[i];
				out[E.kind[e]] += this.byTime ? E.took[e] : 1;
			}
			return;
		}
		this.addUpTo(j, 1, out);
		this.addUpTo(i, -1, out);
	}
}

let top = RULER; /* of the rows: below the ruler and the strip of phases */
let head, E, rows = [], shown, colours, palette;
const view = {from: 0, to: 1, least: 0, most: 1, scroll: 0};
const state = {
	kinds: [], words: [], only: -1, selection: null, row: 0, event: -1, hover: null, matched: null,
};

function makeRows() {
	for (const kind of ["vCPU", "worker", "control"])
		head.threads.forEach((t, i) => {
			if (t.kind === kind)
				rows.push({title: t.name, sub: kind, column: "thread", key: i});
		});
	head.lines.map((name, i) => ({title: name, sub: "interrupt", column: "line", key: i + 1}))
		.sort((x, y) => x.title.localeCompare(y.title, "en", {numeric: true}))
		.forEach((r) => rows.push(r));
	head.devices.forEach((d, i) => rows.push({
		title: d.name, sub: d.model, column: "device", key: i + 1,
	}));
	/* Those in which nothing happened would only be in the way. */
	const seen = {};
	for (const column of ["thread", "line", "device"]) {
		seen[column] = new Uint8Array(65536);
		for (let i = 0; i < E.n; i++)
			seen[column][E[column][i]] = 1;
	}
	rows = rows.filter((r) => seen[r.column][r.key]);
}

/* Which events the filters let through. */
function match() {
	const mask = new Uint8Array(E.n), kinds = Uint8Array.from(state.kinds, (on) => on ? 1 : 0);
	const has = (text, word) => text.toLowerCase().includes(word);
	const words = state.words.map((w) => ({
		text: Uint8Array.from(head.strings, (s) => has(s, w)),
		kind: Uint8Array.from(head.kinds, (k) => has(k.name, w)),
		thread: Uint8Array.from(head.threads, (t) => has(t.name, w)),
		device: Uint8Array.from([{name: ""}, ...head.devices], (d) => has(d.name, w)),
	}));
	const only = rows[state.only];
	const column = only && E[only.column];
	let count = 0;
	for (let i = 0; i < E.n; i++) {
		let on = kinds[E.kind[i]] && (!only || column[i] === only.key) ? 1 : 0;
		for (let w = 0; on && w < words.length; w++) {
			const word = words[w];
			on = word.text[E.text[i]] | word.kind[E.kind[i]] | word.thread[E.thread[i]] |
				word.device[E.device[i]];
		}
		mask[i] = on;
		count += on;
	}
	state.matched = new Uint32Array(count);
	for (let i = 0, j = 0; i < E.n; i++)
		if (mask[i])
			state.matched[j++] = i;
}

/* Deals the events out by @column: to each of its rows the points and the spans. */
function deal(column) {
	const spans = Uint8Array.from(head.kinds, (k) => k.span ? 1 : 0);
	const matched = state.matched, keys = E[column], kind = E.kind;
	const most = rows.reduce((m, r) => r.column === column ? Math.max(m, r.key) : m, 0);
	const ends = new Uint32Array(2 * most + 3);
	for (let i = 0; i < matched.length; i++)
		ends[2 * keys[matched[i]] + spans[kind[matched[i]]] + 1]++;
	for (let i = 1; i < ends.length; i++)
		ends[i] += ends[i - 1];
	const next = ends.slice(), dealt = new Uint32Array(matched.length);
	for (let i = 0; i < matched.length; i++)
		dealt[next[2 * keys[matched[i]] + spans[kind[matched[i]]]]++] = matched[i];
	for (const r of rows) {
		if (r.column !== column)
			continue;
		const k = 2 * r.key;
		r.points = new Lane(dealt.subarray(ends[k], ends[k + 1]), false);
		r.spans = new Lane(dealt.subarray(ends[k + 1], ends[k + 2]), true);
		r.count = ends[k + 2] - ends[k];
	}
}

function fillRows() {
	for (const column of ["thread", "line", "device"])
		deal(column);
	shown = state.only >= 0 ? rows.filter((r) => r.count) : rows;
	state.row = Math.min(state.row, Math.max(shown.length - 1, 0));
}

function refilter() {
	match();
	fillRows();
	makeLabels();
	overviewPicture = null;
	listed();
	changed();
}

/* --- Drawing. --- */

const timeline = $("timeline"), overview = $("overview");
const ink = timeline.getContext("2d"), sketch = overview.getContext("2d");
let width = 1, height = 1, overviewPicture = null, queued = false;

function style(name) {
	return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function fit(canvas, context) {
	const ratio = window.devicePixelRatio || 1;
	const w = canvas.clientWidth, h = canvas.clientHeight;
	if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
		canvas.width = Math.round(w * ratio);
		canvas.height = Math.round(h * ratio);
	}
	context.setTransform(ratio, 0, 0, ratio, 0, 0);
	return [w, h];
}

const xOf = (t) => (t - view.from) / (view.to - view.from) * width;
const tOf = (x) => view.from + x / width * (view.to - view.from);
const rowTop = (n) => top + n * ROW - view.scroll;

/* Distances of 1, 2 or 5 times a power of ten, of at least 90 pixels. */
function drawRuler() {
	const least = (view.to - view.from) / width * 90;
	const power = 10 ** Math.floor(Math.log10(least));
	const step = Math.max(1, [1, 2, 5, 10].find((m) => m * power >= least) * power);
	ink.fillStyle = palette.back;
	ink.fillRect(0, 0, width, RULER);
	ink.font = palette.small;
	ink.textBaseline = "middle";
	for (let t = Math.ceil(view.from / step) * step; t < view.to; t += step) {
		const x = xOf(t);
		ink.fillStyle = palette.line;
		ink.fillRect(x, 0, 1, RULER);
		ink.fillStyle = palette.faint;
		ink.fillText(moment(t, step), x + 4, RULER / 2);
	}
	ink.fillStyle = palette.line;
	ink.fillRect(0, RULER - 1, width, 1);
}

/* Boot phases have a strip with their names above the rows, and show through behind them. */
function drawPhases() {
	if (!head.phases.length)
		return;
	ink.font = palette.small;
	ink.textBaseline = "middle";
	ink.fillStyle = palette.back;
	ink.fillRect(0, RULER, width, STRIP);
	head.phases.forEach((p, n) => {
		const x = Math.max(xOf(p.start), 0), end = Math.min(xOf(p.end), width);
		if (end <= 0 || x >= width)
			return;
		ink.fillStyle = palette.phases[n % 2];
		ink.fillRect(x, RULER, Math.max(end - x, 1), STRIP - 1);
		ink.fillStyle = palette.line;
		ink.fillRect(x, RULER, 1, height);
		ink.fillStyle = palette.text;
		if (end - x > 24)
			ink.fillText(clipText(p.name, end - x - 8), x + 5, RULER + STRIP / 2);
	});
	ink.fillStyle = palette.line;
	ink.fillRect(0, top - 1, width, 1);
}

/* How far down the rows one is, where not all of them fit. */
function drawThumb() {
	const all = shown.length * ROW, room = height - top;
	if (all <= room)
		return;
	ink.fillStyle = palette.faint;
	ink.globalAlpha = 0.6;
	ink.fillRect(width - 6, top + view.scroll / all * room, 4, room * room / all);
	ink.globalAlpha = 1;
}

function clipText(text, room) {
	const most = Math.floor(room / palette.letter);
	return text.length <= most ? text : most < 4 ? "" : text.slice(0, most - 1) + "…";
}

/* From raised to taken and from taken to ended, so that an interrupt's latency can be seen. */
function drawTrails(lane, i, end, y, h) {
	for (; i < end; i++) {
		const e = lane.index[i], role = head.kinds[E.kind[e]].role;
		if ((role !== "taken" && role !== "ended") || !E.took[e])
			continue;
		const x = xOf(E.at[e] - E.took[e]);
		ink.globalAlpha = role === "taken" ? 0.35 : 0.6;
		ink.fillStyle = colourOf(E.kind[e]);
		ink.fillRect(x, y + h - 5, xOf(E.at[e]) - x, 4);
	}
	ink.globalAlpha = 1;
}

/* The few events that are there one by one, with their words where there is room. */
function drawEach(lane, i, end, y, h) {
	const n = lane.index.length;
	ink.font = palette.mono;
	ink.textBaseline = "middle";
	for (; i < end; i++) {
		const e = lane.index[i], x = xOf(E.at[e]);
		const next = i + 1 < n ? xOf(E.at[lane.index[i + 1]]) : width;
		const wanted = lane.byTime ? xOf(E.at[e] + E.took[e]) - x : 0;
		const w = Math.max(lane.byTime ? wanted : 3, 1.5);
		ink.fillStyle = colourOf(E.kind[e]);
		ink.fillRect(x, y, w, h);
		const from = lane.byTime ? Math.max(x, 0) + 4 : x + w + 3;
		const room = (lane.byTime ? Math.min(x + w, width) : Math.min(next, width)) - from - 4;
		if (room < 30)
			continue;
		ink.fillStyle = lane.byTime ? palette.back : palette.text;
		ink.fillText(clipText(words(e), room), from, y + h / 2);
	}
}

/* Columns of pixels, put together here and drawn at once. */
class Strip {
	constructor() {
		this.canvas = document.createElement("canvas");
		this.context = this.canvas.getContext("2d");
	}

	begin(w, h) {
		if (this.canvas.width !== w || this.canvas.height !== h || !this.pixels) {
			this.canvas.width = w;
			this.canvas.height = h;
			this.image = this.context.createImageData(w, h);
			this.pixels = new Uint32Array(this.image.data.buffer);
		}
		this.pixels.fill(0);
	}

	/* Column @x, from row @top to in front of @bottom. */
	put(x, top, bottom, colour) {
		const w = this.canvas.width;
		for (let i = top * w + x; i < bottom * w; i += w)
			this.pixels[i] = colour;
	}

	/* Column @x from the bottom up to @full rows, shared by @shares, which add up to @all. */
	stack(x, full, shares, all) {
		const h = this.canvas.height;
		let sum = 0, bottom = h;
		for (let k = 0; k < shares.length; k++) {
			if (!shares[k])
				continue;
			sum += shares[k];
			const top = h - Math.round(full * sum / all);
			this.put(x, top, bottom, pixelColours[k]);
			bottom = top;
		}
	}

	finish() {
		this.context.putImageData(this.image, 0, 0);
		return this.canvas;
	}
}
const strip = new Strip();
let pixelColours = new Uint32Array(0);

/* #rrggbb as a pixel has it in memory: red first. */
const pixelOf = (colour) => {
	const v = parseInt(colour.slice(1), 16);
	return (0xff000000 | (v & 255) << 16 | v & 0xff00 | v >> 16) >>> 0;
};

/* Where the events of each pixel begin in the lane. */
function cut(lane, start, step, count) {
	const cuts = new Uint32Array(count + 1);
	let i = lane.find(start);
	for (let x = 0; x <= count; x++)
		cuts[x] = i = lane.find(start + x * step, i);
	return cuts;
}

function drawMany(lane, y, h) {
	const ratio = timeline.width / width, w = timeline.width + 1;
	const step = (view.to - view.from) / timeline.width;
	/* Pixels stay put in time when the view moves, or the picture would shimmer. */
	const start = Math.floor(view.from / step) * step, cuts = cut(lane, start, step, w);
	const sums = new Float64Array(head.kinds.length), high = Math.round(h * ratio);
	let most = 1;
	for (let x = 0; x < w; x++)
		most = Math.max(most, cuts[x + 1] - cuts[x]);
	strip.begin(w, high);
	for (let x = 0; x < w; x++) {
		const count = cuts[x + 1] - cuts[x];
		if (!count) {
			/* It may lie within a span that began further left. */
			const e = cuts[x] ? lane.index[cuts[x] - 1] : -1;
			if (e >= 0 && lane.byTime && E.at[e] + E.took[e] > start + x * step)
				strip.put(x, 0, high, pixelColours[E.kind[e]]);
			continue;
		}
		lane.weigh(cuts[x], cuts[x + 1], sums);
		let all = 0;
		for (const s of sums)
			all += s;
		const share = lane.byTime ? Math.min(1, all / step) :
			0.2 + 0.8 * Math.log1p(count) / Math.log1p(most);
		strip.stack(x, Math.max(2 * ratio, high * share), sums, all || 1);
	}
	ink.drawImage(strip.finish(), xOf(start), y, w / ratio, h);
}

function drawLane(lane, y, h, trails) {
	if (!lane.index.length)
		return;
	const i = lane.find(view.from), end = lane.find(view.to, i);
	if (end - i <= INDIVIDUALLY && (end - i) * 2 <= width) {
		drawEach(lane, Math.max(i - 1, 0), end, y, h);
		if (trails)
			drawTrails(lane, i, Math.min(end + 1, lane.index.length), y, h);
	} else {
		drawMany(lane, y, h);
	}
}

function drawRow(r, y) {
	const both = r.spans.index.length && r.points.index.length;
	if (r.spans.index.length) {
		const h = both ? 20 : ROW - 9;
		ink.fillStyle = palette.guest;
		ink.fillRect(0, y + 4, width, h);
		drawLane(r.spans, y + 4, h);
	}
	drawLane(r.points, both ? y + 26 : y + 4, both ? 12 : ROW - 9, r.column === "line");
	ink.fillStyle = palette.line;
	ink.fillRect(0, y + ROW - 1, width, 1);
}

function drawSelection() {
	const s = state.selection;
	if (s) {
		ink.fillStyle = palette.select;
		ink.fillRect(xOf(s.from), 0, Math.max(xOf(s.to) - xOf(s.from), 1), height);
		ink.fillStyle = palette.accent;
		ink.fillRect(xOf(s.from), 0, 1, height);
		ink.fillRect(xOf(s.to), 0, 1, height);
	}
	const y = rowTop(state.row);
	if (document.activeElement === timeline && shown.length) {
		ink.fillStyle = palette.accent;
		ink.fillRect(0, y, 2, ROW - 1);
	}
	if (state.event >= 0) {
		const x = xOf(E.at[state.event]);
		ink.fillStyle = palette.accent;
		ink.fillRect(x - 0.5, RULER - 6, 1.5, height);
		ink.beginPath();
		ink.moveTo(x - 5, RULER - 8);
		ink.lineTo(x + 5, RULER - 8);
		ink.lineTo(x, RULER);
		ink.fill();
	}
}

function draw() {
	queued = false;
	[width, height] = fit(timeline, ink);
	if (width < 2)
		return;
	view.scroll = Math.max(0, Math.min(view.scroll, top + shown.length * ROW - height));
	ink.fillStyle = palette.back;
	ink.fillRect(0, 0, width, height);
	ink.save();
	ink.beginPath();
	ink.rect(0, top, width, height);
	ink.clip();
	shown.forEach((r, n) => {
		const y = rowTop(n);
		if (y > -ROW && y < height)
			drawRow(r, y);
	});
	ink.restore();
	drawRuler();
	drawPhases();
	drawSelection();
	drawThumb();
	drawOverview();
	placeLabels();
	$("span").textContent = duration(view.to - view.from);
}

function drawOverviewPicture(w, h) {
	const kinds = head.kinds.length, picture = new Strip();
	const counts = new Float64Array(w * kinds), all = new Float64Array(w);
	const scale = w / (view.most - view.least);
	for (let i = 0; i < state.matched.length; i++) {
		const e = state.matched[i];
		const x = Math.min(w - 1, Math.floor((E.at[e] - view.least) * scale));
		counts[x * kinds + E.kind[e]]++;
		all[x]++;
	}
	const most = Math.log1p(all.reduce((a, b) => Math.max(a, b), 0));
	picture.begin(w, h);
	for (let x = 0; x < w; x++)
		if (all[x])
			picture.stack(x, (h - 4) * Math.log1p(all[x]) / most,
				counts.subarray(x * kinds, (x + 1) * kinds), all[x]);
	return picture.finish();
}

function drawOverview() {
	const [w, h] = fit(overview, sketch);
	if (!w || !h)
		return;
	if (!overviewPicture || overviewPicture.forWidth !== w) {
		overviewPicture = drawOverviewPicture(overview.width, overview.height);
		overviewPicture.forWidth = w;
	}
	const at = (t) => (t - view.least) / (view.most - view.least) * w;
	sketch.clearRect(0, 0, w, h);
	sketch.drawImage(overviewPicture, 0, 0, w, h);
	const a = at(view.from), b = Math.max(at(view.to), a + 2);
	sketch.fillStyle = palette.shade;
	sketch.fillRect(0, 0, a, h);
	sketch.fillRect(b, 0, w - b, h);
	sketch.strokeStyle = palette.accent;
	sketch.strokeRect(a + 0.5, 0.5, Math.max(b - a - 1, 1), h - 1);
	if (state.selection) {
		const s = at(state.selection.from);
		sketch.fillStyle = palette.select;
		sketch.fillRect(s, 0, Math.max(at(state.selection.to) - s, 1), h);
	}
}

function redraw() {
	if (!queued) {
		queued = true;
		requestAnimationFrame(draw);
	}
}

function makeLabels() {
	const list = $("labels");
	list.replaceChildren(make("li", "ruler", head.phases.length ? "phase" : "time"));
	list.firstChild.style.height = top + "px";
	shown.forEach((r, n) => {
		const li = make("li");
		li.append(make("strong", "", r.title),
			make("small", "", r.sub + " · " + counted(r.count)));
		li.title = r.title + " (" + r.sub + "): a double click shows this row only";
		li.style.height = ROW + "px";
		li.addEventListener("click", () => { state.row = n; timeline.focus(); redraw(); });
		li.addEventListener("dblclick", () => {
			$("only").value = state.only === rows.indexOf(r) ? -1 : rows.indexOf(r);
			$("only").dispatchEvent(new Event("change"));
		});
		list.append(li);
	});
	placeLabels();
}

function placeLabels() {
	const items = $("labels").children;
	for (let n = 0; n < shown.length; n++) {
		items[n + 1].style.top = rowTop(n) + "px";
		if (n === state.row)
			items[n + 1].setAttribute("aria-current", "true");
		else
			items[n + 1].removeAttribute("aria-current");
	}
}

/* --- The view. --- */

function show(from, to) {
	const most = view.most - view.least;
	const size = Math.min(Math.max(to - from, NARROWEST), most);
	view.from = Math.min(Math.max(from + (to - from - size) / 2, view.least), view.most - size);
	view.to = view.from + size;
	changed();
}

function zoom(factor, t) {
	show(t - (t - view.from) * factor, t + (view.to - t) * factor);
}

function pan(share) {
	const by = (view.to - view.from) * share;
	const shift = Math.min(Math.max(by, view.least - view.from), view.most - view.to);
	show(view.from + shift, view.to + shift);
}

function reveal(row) {
	const y = row * ROW, room = height - top;
	if (y < view.scroll)
		view.scroll = y;
	else if (y + ROW > view.scroll + room)
		view.scroll = y + ROW - room;
}

let late = 0, resting = true;
function changed() {
	redraw();
	/* What takes a pass over all that is visible waits until the view rests. */
	clearTimeout(late);
	late = setTimeout(figures, 90);
	resting = false;
}

function select(from, to) {
	state.selection = to > from ? {from, to} : null;
	changed();
}

function pick(e, centre) {
	state.event = e;
	if (centre && (E.at[e] < view.from || E.at[e] > view.to)) {
		const half = (view.to - view.from) / 2;
		show(E.at[e] - half, E.at[e] + half);
	}
	listHere(e);
	redraw();
}

/* --- One event in words. --- */

function exact(column, e) {
	const big = wide.get(column + " " + e);
	return big === undefined ? E[column][e] : big;
}

function words(e) {
	const text = head.strings[E.text[e]];
	if (text)
		return text;
	const kind = head.kinds[E.kind[e]];
	return kind.name + (E.address[e] ? " " + hex(exact("address", e)) : "") +
		(E.value[e] ? " = " + hex(exact("value", e)) : "");
}

function describe(e) {
	const kind = head.kinds[E.kind[e]], list = make("dl");
	const add = (name, text) => list.append(make("dt", "", name), make("dd", "", text));
	add("kind", kind.name);
	add("at", (E.at[e] / 1e6).toFixed(6) + " ms");
	if (E.took[e])
		add(kind.took || "took", duration(E.took[e]));
	const thread = head.threads[E.thread[e]];
	if (thread)
		add("on", thread.name);
	const d = head.devices[E.device[e] - 1];
	if (d)
		add("device", d.name + " (" + d.model + ")");
	if (E.line[e])
		add("line", head.lines[E.line[e] - 1]);
	if (E.rip[e])
		add("rip", hex(exact("rip", e)));
	if (kind.address && E.address[e])
		add(kind.address, hex(exact("address", e)));
	if (kind.value)
		add(kind.value, hex(exact("value", e)));
	return [make("strong", "", words(e)), list];
}

/* The event at a place of the timeline: the one under the pointer, or one next to it. */
function eventAt(x, y) {
	const n = Math.floor((y - top + view.scroll) / ROW), r = shown[n];
	if (y < top || !r)
		return null;
	const t = tOf(x), grain = (view.to - view.from) / width;
	const both = r.spans.index.length && r.points.index.length;
	const low = (y - top + view.scroll) % ROW > 25;
	const lanes = both ? low ? [r.points, r.spans] : [r.spans, r.points] : [r.points, r.spans];
	for (const lane of lanes) {
		const i = lane.find(t);
		let best = -1, distance = 6 * grain;
		for (const j of [i - 1, i]) {
			if (j < 0 || j >= lane.index.length)
				continue;
			const e = lane.index[j], start = E.at[e];
			const end = lane.byTime ? start + E.took[e] : start;
			const off = t < start ? start - t : Math.max(t - end, 0);
			if (off < distance) {
				best = e;
				distance = off;
			}
		}
		if (best >= 0) {
			const near = lane.find(t + grain / 2) - lane.find(t - grain / 2);
			return {row: n, event: best, near};
		}
	}
	return {row: n, event: -1, near: 0};
}

function tip(x, y, found) {
	const box = $("tip");
	if (!found || found.event < 0) {
		box.hidden = true;
		return;
	}
	box.replaceChildren(...describe(found.event));
	if (found.near > 1)
		box.append(make("div", "empty", "one of " + counted(found.near) + " at this pixel"));
	box.hidden = false;
	const w = box.offsetWidth, h = box.offsetHeight;
	box.style.left = Math.max(4, x + 16 + w > innerWidth ? x - w - 12 : x + 16) + "px";
	box.style.top = Math.max(4, y + 18 + h > innerHeight ? y - h - 12 : y + 18) + "px";
}

/* --- Figures. --- */

/* A histogram of 32 parts to each power of two, so percentiles are good to 3 %. */
class Times {
	constructor() {
		this.parts = new Uint32Array(54 * 32);
		this.count = 0;
		this.most = 0;
	}

	add(ns) {
		this.parts[ns < 1 ? 0 : Math.floor(Math.log2(ns) * 32)]++;
		this.count++;
		this.most = Math.max(this.most, ns);
	}

	percentile(p) {
		let left = this.count * p;
		if (p === 1)
			return this.most;
		for (let part = 0; part < this.parts.length; part++) {
			left -= this.parts[part];
			if (left <= 0)
				return Math.min(2 ** ((part + 1) / 32), this.most);
		}
		return this.most;
	}
}

function scope() {
	const s = state.selection || view;
	return [s.from, s.to, state.selection ? "selected" :
		view.to - view.from >= view.most - view.least ? "all" : "visible"];
}

/* Positions in what the filters let through. */
function findMatched(t) {
	let low = 0, high = state.matched.length;
	while (low < high) {
		const middle = low + high >> 1;
		if (E.at[state.matched[middle]] < t)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

function gather(from, to) {
	const kinds = head.kinds.length, roles = head.kinds.map((k) => k.role);
	const sums = {
		counts: new Float64Array(kinds), took: new Float64Array(kinds),
		longest: new Float64Array(kinds), octaves: head.kinds.map(() => new Float64Array(40)),
		devices: new Float64Array(head.devices.length + 1), lines: new Map(),
		chains: new Map(), count: 0,
	};
	const first = findMatched(from);
	let j = first;
	for (; j < state.matched.length; j++) {
		const e = state.matched[j], kind = E.kind[e], took = E.took[e], role = roles[kind];
		if (E.at[e] > to)
			break;
		sums.counts[kind]++;
		sums.took[kind] += took;
		if (took > sums.longest[kind])
			sums.longest[kind] = took;
		sums.devices[E.device[e]]++;
		if (role === "exit" && took)
			sums.octaves[kind][Math.min(39, Math.floor(Math.log2(took)))]++;
		else if (role && role !== "exit")
			gatherTimes(sums, e, role, took);
	}
	sums.count = j - first;
	return sums;
}

function gatherTimes(sums, e, role, took) {
	if (role === "chain") {
		if (!sums.chains.has(E.device[e]))
			sums.chains.set(E.device[e], new Times());
		if (took)
			sums.chains.get(E.device[e]).add(took);
		return;
	}
	let line = sums.lines.get(E.line[e]);
	if (!E.line[e])
		return;
	if (!line) {
		line = {raised: 0, taken: new Times(), ended: new Times()};
		sums.lines.set(E.line[e], line);
	}
	if (role === "raised")
		line.raised++;
	else if (took)
		line[role].add(took);
}

function table(names, lines) {
	const t = make("table"), first = make("tr");
	for (const n of names)
		first.append(make("th", "", n));
	t.append(first);
	for (const line of lines) {
		const tr = make("tr", line.act ? "link" : "");
		for (const cell of line.cells) {
			const td = make("td");
			td.append(...[cell].flat());
			tr.append(td);
		}
		if (line.act)
			tr.addEventListener("click", line.act);
		t.append(tr);
	}
	return t;
}

function bar(share, colour) {
	const outer = make("span", "bar"), inner = make("i");
	inner.style.width = Math.max(share * 100, 0.8) + "%";
	inner.style.background = colour;
	outer.append(inner);
	return outer;
}

function fill(id, ...content) {
	const body = $(id).querySelector(".body");
	body.replaceChildren(...content);
}

function showStats(sums, from, to) {
	const most = Math.max(1, ...sums.counts), mean = (i) => sums.took[i] / sums.counts[i];
	const lines = head.kinds.map((_, i) => i).filter((i) => sums.counts[i])
		.sort((a, b) => sums.counts[b] - sums.counts[a]).map((i) => ({cells: [
			[dot(i), head.kinds[i].name], counted(sums.counts[i]),
			bar(sums.counts[i] / most, colourOf(i)),
			sums.took[i] ? duration(mean(i)) : "",
			sums.took[i] ? duration(sums.longest[i]) : ""],
		act: () => onlyKind(i)}));
	const devices = head.devices.map((d, i) => ({d, n: sums.devices[i + 1]}))
		.filter(({n}) => n).sort((a, b) => b.n - a.n);
	const deviceMost = devices.length ? devices[0].n : 1;
	fill("stats", make("p", "empty", counted(sums.count) + " events in " + duration(to - from) +
		", " + counted(Math.round(sums.count / Math.max(to - from, 1) * 1e9)) + " a second"),
	table(["kind", "events", "", "mean", "longest"], lines),
	table(["device", "events", ""], devices.map(({d, n}) => ({
		cells: [d.name, counted(n), bar(n / deviceMost, palette.accent)],
		act: () => onlyRow(rows.findIndex((r) => r.column === "device" && r.title === d.name)),
	}))));
}

function chart(octaves, colourOf) {
	const canvas = make("canvas", "chart");
	const used = octaves.flatMap((o) => [...o].map((n, i) => n ? i : -1)).filter((i) => i >= 0);
	requestAnimationFrame(() => {
		const context = canvas.getContext("2d");
		const [w, h] = fit(canvas, context), first = Math.min(...used), last = Math.max(...used);
		const totals = octaves[0].map((_, i) => octaves.reduce((s, o) => s + o[i], 0));
		const most = Math.max(...totals), step = w / (last - first + 1);
		context.font = palette.small;
		for (let i = first; i <= last; i++) {
			let bottom = h - 15;
			octaves.forEach((o, k) => {
				const part = (h - 28) * o[i] / most;
				context.fillStyle = colourOf(k);
				context.fillRect((i - first) * step + 1, bottom - part, step - 2, part);
				bottom -= part;
			});
			context.fillStyle = palette.faint;
			context.textAlign = "center";
			if (totals[i] && step > 38)
				context.fillText(counted(totals[i]), (i - first + 0.5) * step, bottom - 4);
			context.textAlign = "left";
			if ((i - first) % Math.ceil(48 / step) === 0 && (i - first) * step < w - 44)
				context.fillText(duration(2 ** i).replace(/\.0+(?= )/, ""),
					(i - first) * step + 1, h - 3);
		}
	});
	return canvas;
}

function showExits(sums) {
	const exits = head.kinds.map((_, i) => i).filter((i) => head.kinds[i].role === "exit" &&
		sums.counts[i]);
	if (!exits.length) {
		fill("exits", make("p", "empty", "no exits here"));
		return;
	}
	exits.sort((a, b) => sums.took[b] - sums.took[a]);
	fill("exits", make("p", "empty", "how long skep had the vCPU, by powers of two"),
		chart(exits.map((i) => sums.octaves[i]), (k) => colourOf(exits[k])),
		table(["exit", "count", "in skep", "mean", "longest"], exits.map((i) => ({
			cells: [[dot(i), head.kinds[i].name.replace("exit: ", "")], counted(sums.counts[i]),
				duration(sums.took[i]), duration(sums.took[i] / sums.counts[i]),
				duration(sums.longest[i])],
			act: () => onlyKind(i),
		}))));
}

const threeTimes = (t) => [0.5, 0.99, 1].map((p) => t.count ? duration(t.percentile(p)) : "");

function showIrqs(sums) {
	const lines = [...sums.lines].sort((a, b) => a[0] - b[0]);
	if (!lines.length) {
		fill("irqs", make("p", "empty", "no interrupts here"));
		return;
	}
	const cells = [];
	for (const [n, line] of lines) {
		const act = () => onlyRow(rows.findIndex((r) => r.column === "line" && r.key === n));
		cells.push({cells: [head.lines[n - 1], counted(line.raised),
			line.taken.count ? "taken" : "", ...threeTimes(line.taken)], act});
		if (line.ended.count)
			cells.push({cells: ["", "", "ended", ...threeTimes(line.ended)], act});
	}
	fill("irqs", make("p", "empty", "how long until taken, and from then until ended"),
		table(["line", "raised", "", "50 %", "99 %", "most"], cells));
}

function showQueues(sums) {
	const chains = [...sums.chains].sort((a, b) => a[0] - b[0]);
	$("queues").hidden = !chains.length;
	fill("queues", make("p", "empty", "how long from a chain's taking until it was done"),
		table(["device", "chains", "50 %", "99 %", "most"], chains.map(([n, times]) => ({
			cells: [head.devices[n - 1].name, counted(times.count), ...threeTimes(times)],
			act: () => onlyRow(rows.findIndex((r) => r.column === "device" && r.key === n)),
		}))));
}

function showBoot() {
	$("boot").hidden = !head.phases.length;
	const most = Math.max(1, ...head.phases.map((p) => p.end - p.start));
	fill("boot", table(["phase", "from", "took", ""], head.phases.map((p) => ({
		cells: [p.name, duration(p.start), duration(p.end - p.start),
			bar((p.end - p.start) / most, palette.accent)],
		act: () => { select(p.start, p.end); show(p.start, p.end); },
	}))));
}

function figures() {
	const [from, to, what] = scope();
	const sums = gather(from, to);
	for (const e of document.querySelectorAll(".scope"))
		e.textContent = what;
	showStats(sums, from, to);
	showExits(sums);
	showIrqs(sums);
	showQueues(sums);
	listed();
	resting = true;
}

/* --- The list. --- */

const listBody = $("list").querySelector(".body"), tall = $("list").querySelector(".tall");
const TALLEST = 4e6; /* pixels that an element may well have */

function listRange() {
	const [from, to] = scope();
	const first = findMatched(from);
	let end = findMatched(to);
	while (end < state.matched.length && E.at[state.matched[end]] <= to)
		end++;
	return [first, end];
}

function listed() {
	const [first, end] = listRange(), room = listBody.clientHeight || 200;
	const n = end - first, high = Math.min(n * EVENT, TALLEST);
	tall.style.height = high + "px";
	/* Where the list is longer than an element can be, the bar says how far down one is. */
	const most = Math.max(high - room, 1), down = Math.min(listBody.scrollTop, most);
	const at = n * EVENT <= TALLEST ? down / EVENT : down / most * Math.max(n - room / EVENT, 0);
	const lines = [];
	for (let k = Math.floor(at); k < Math.min(n, at + room / EVENT + 1); k++) {
		const e = state.matched[first + k], line = make("div", e === state.event ?
			"event here" : "event");
		const thread = head.threads[E.thread[e]];
		line.style.top = down + (k - at) * EVENT + "px";
		line.append(dot(E.kind[e]), make("time", "", moment(E.at[e], 1e2)),
			make("i", "", thread ? thread.name : ""), make("span", "", words(e)));
		line.dataset.event = e;
		lines.push(line);
	}
	if (!n)
		lines.push(make("p", "empty", "no events here"));
	tall.replaceChildren(...lines);
}

function listHere(e) {
	const [first, end] = listRange();
	let low = first, high = end;
	while (low < high) {
		const middle = low + high >> 1;
		if (state.matched[middle] < e)
			low = middle + 1;
		else
			high = middle;
	}
	const n = end - first, room = listBody.clientHeight, k = Math.max(low - first - 3, 0);
	tall.style.height = Math.min(n * EVENT, TALLEST) + "px";
	listBody.scrollTop = n * EVENT <= TALLEST ? k * EVENT :
		k / Math.max(n - room / EVENT, 1) * (TALLEST - room);
	listed();
}

/* --- What a person does. --- */

function setKinds() {
	document.querySelectorAll(".chip").forEach((chip) =>
		chip.setAttribute("aria-pressed", String(state.kinds[chip.dataset.kind])));
	refilter();
}

function onlyKind(i) {
	const alone = state.kinds.every((on, k) => on === (k === i));
	state.kinds = state.kinds.map((_, k) => alone || k === i);
	setKinds();
}

function onlyRow(n) {
	state.only = n;
	$("only").value = n;
	refilter();
}

function makeFilters() {
	const counts = new Float64Array(head.kinds.length);
	for (let i = 0; i < E.n; i++)
		counts[E.kind[i]]++;
	state.kinds = head.kinds.map(() => true);
	$("kinds").replaceChildren();
	head.kinds.forEach((k, i) => {
		if (!counts[i])
			return;
		const chip = make("button", "chip");
		chip.type = "button";
		chip.dataset.kind = i;
		chip.setAttribute("aria-pressed", "true");
		chip.append(dot(i), make("span", "", k.name), make("b", "", counted(counts[i])));
		chip.addEventListener("click", () => { state.kinds[i] = !state.kinds[i]; setKinds(); });
		chip.addEventListener("dblclick", () => onlyKind(i));
		$("kinds").append(chip);
	});
	const option = (value, text) => {
		const o = make("option", "", text);
		o.value = value;
		return o;
	};
	$("only").replaceChildren(option(-1, "all rows"),
		...rows.map((r, n) => option(n, r.title + " (" + r.sub + ")")));
}

function clearFilters() {
	state.words = [];
	state.only = -1;
	$("search").value = "";
	$("only").value = -1;
	state.kinds = state.kinds.map(() => true);
	setKinds();
}

function setTheme(name) {
	document.documentElement.dataset.theme = name;
	$("theme").textContent = name === "dark" ? "Light" : "Dark";
	colours = COLOURS[name];
	pixelColours = Uint32Array.from(head.kinds, (_, i) => pixelOf(colourOf(i)));
	palette = {
		back: style("--back"), line: style("--line"), text: style("--text"),
		faint: style("--faint"), accent: style("--accent"), select: style("--select"),
		guest: style("--guest"), shade: name === "dark" ? "rgba(0,0,0,.5)" : "rgba(90,100,115,.2)",
		phases: name === "dark" ? ["#26333f", "#1f2730"] : ["#dbe7f3", "#ecf1f6"],
		small: "11px system-ui, sans-serif", mono: "11px " + style("--mono"), letter: 7,
	};
	ink.font = palette.mono;
	palette.letter = ink.measureText("0123456789").width / 10;
	document.querySelectorAll(".chip").forEach((chip) => {
		chip.firstChild.style.background = colourOf(chip.dataset.kind);
	});
	overviewPicture = null;
	if (shown) {
		showBoot();
		changed();
	}
}

function otherTheme() {
	setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

/* The next or last event of the row that has the focus. */
function stepEvent(by) {
	const r = shown[state.row];
	if (!r)
		return;
	const t = state.event >= 0 ? E.at[state.event] : (view.from + view.to) / 2;
	const all = [r.points, r.spans].flatMap((lane) => {
		let i = lane.find(t);
		if (by > 0)
			while (i < lane.index.length && lane.index[i] <= state.event)
				i++;
		else
			while (i > 0 && (i >= lane.index.length || lane.index[i] >= state.event ||
				E.at[lane.index[i]] >= t))
				i--;
		const e = lane.index[i];
		return e === undefined || (state.event >= 0 && (e - state.event) * by <= 0) ? [] : [e];
	});
	if (all.length)
		pick(by > 0 ? Math.min(...all) : Math.max(...all), true);
}

const KEYS = {
	"ArrowLeft": () => pan(-0.15), "ArrowRight": () => pan(0.15),
	"a": () => pan(-0.15), "d": () => pan(0.15),
	"w": () => zoom(0.6, (view.from + view.to) / 2), "s": () => zoom(1 / 0.6, (view.from + view.to) / 2),
	"+": () => zoom(0.6, (view.from + view.to) / 2), "=": () => zoom(0.6, (view.from + view.to) / 2),
	"-": () => zoom(1 / 0.6, (view.from + view.to) / 2),
	"0": () => show(view.least, view.most), "Home": () => show(view.least, view.most),
	"ArrowUp": () => { state.row = Math.max(state.row - 1, 0); reveal(state.row); redraw(); },
	"ArrowDown": () => {
		state.row = Math.min(state.row + 1, shown.length - 1);
		reveal(state.row);
		redraw();
	},
	"PageUp": () => { view.scroll -= height - top - ROW; redraw(); },
	"PageDown": () => { view.scroll += height - top - ROW; redraw(); },
	"n": () => stepEvent(1), "p": () => stepEvent(-1),
	"z": () => { if (state.selection) show(state.selection.from, state.selection.to); },
	"v": () => select(view.from, view.to),
	"Escape": () => { state.event = -1; $("tip").hidden = true; select(0, 0); },
	"/": () => $("search").focus(), "t": otherTheme, "?": () => $("keys").showModal(),
};

const HELP = [
	["wheel, + −, W S", "zoom, at the pointer or in the middle"],
	["drag, ← →, A D", "move"],
	["shift and drag, V", "select a span of time, or what is visible: all figures are of it"],
	["Z", "zoom to the selection"],
	["0, Home", "everything"],
	["click", "mark an event, and show it in the list"],
	["↑ ↓, N P", "another row; its next and last event"],
	["double click", "zoom in; on a row or a kind: this one alone, and all again"],
	["/", "filter by words: all of them must occur in an event"],
	["Escape", "no selection"],
	["T", "dark or light"],
];

function keys() {
	for (const [key, what] of HELP)
		$("keys").querySelector("dl").append(make("dt", "", key), make("dd", "", what));
	document.addEventListener("keydown", (event) => {
		const target = event.target, act = KEYS[event.key.length === 1 ?
			event.key.toLowerCase() : event.key];
		if (event.ctrlKey || event.altKey || event.metaKey || $("keys").open)
			return;
		if (target === $("search") && event.key === "Escape") {
			timeline.focus();
			return;
		}
		if (!act || target.closest("input, select, #list .body") ||
			(target.closest("button") && event.key === " "))
			return;
		event.preventDefault();
		act();
	});
}

function pointer() {
	let drag = null;
	const place = (event) => {
		const box = timeline.getBoundingClientRect();
		return [event.clientX - box.left, event.clientY - box.top];
	};
	timeline.addEventListener("pointerdown", (event) => {
		const [x, y] = place(event);
		timeline.focus({preventScroll: true});
		timeline.setPointerCapture(event.pointerId);
		drag = {x, y, from: view.from, to: view.to, scroll: view.scroll, t: tOf(x),
			select: event.shiftKey || y < top, moved: false};
	});
	timeline.addEventListener("pointermove", (event) => {
		const [x, y] = place(event);
		if (!drag) {
			tip(event.clientX, event.clientY, eventAt(x, y));
			return;
		}
		$("tip").hidden = true;
		drag.moved = drag.moved || Math.hypot(x - drag.x, y - drag.y) > 3;
		if (!drag.moved)
			return;
		if (drag.select) {
			select(Math.min(drag.t, tOf(x)), Math.max(drag.t, tOf(x)));
			return;
		}
		timeline.classList.add("pan");
		const by = (drag.x - x) / width * (drag.to - drag.from);
		const shift = Math.min(Math.max(by, view.least - drag.from), view.most - drag.to);
		view.scroll = drag.scroll + drag.y - y;
		show(drag.from + shift, drag.to + shift);
	});
	timeline.addEventListener("pointerup", (event) => {
		const [x, y] = place(event), found = eventAt(x, y);
		if (drag && !drag.moved && found) {
			state.row = found.row;
			if (found.event >= 0)
				pick(found.event, false);
			redraw();
		}
		drag = null;
		timeline.classList.remove("pan");
	});
	timeline.addEventListener("pointercancel", () => { drag = null; });
	timeline.addEventListener("pointerleave", () => { $("tip").hidden = true; });
	timeline.addEventListener("dblclick", (event) => zoom(0.25, tOf(place(event)[0])));
	timeline.addEventListener("wheel", (event) => {
		event.preventDefault();
		$("tip").hidden = true;
		if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
			pan((event.deltaX || event.deltaY) / width);
		else
			zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY * 0.0022))), tOf(place(event)[0]));
	}, {passive: false});
	$("labels").addEventListener("wheel", (event) => { view.scroll += event.deltaY; redraw(); });
	overviewPointer();
}

function overviewPointer() {
	let held = false;
	const move = (event) => {
		const box = overview.getBoundingClientRect(), half = (view.to - view.from) / 2;
		const t = view.least + (event.clientX - box.left) / box.width * (view.most - view.least);
		const centre = Math.min(Math.max(t, view.least + half), view.most - half);
		show(centre - half, centre + half);
	};
	overview.addEventListener("pointerdown", (event) => {
		held = true;
		overview.setPointerCapture(event.pointerId);
		move(event);
	});
	overview.addEventListener("pointermove", (event) => { if (held) move(event); });
	overview.addEventListener("pointerup", () => { held = false; });
}

function controls() {
	let wait = 0;
	$("search").addEventListener("input", () => {
		clearTimeout(wait);
		wait = setTimeout(() => {
			state.words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
			refilter();
		}, 120);
	});
	$("only").addEventListener("change", () => onlyRow(Number($("only").value)));
	$("clear").addEventListener("click", clearFilters);
	$("theme").addEventListener("click", otherTheme);
	$("help").addEventListener("click", () => $("keys").showModal());
	listBody.addEventListener("scroll", listed);
	listBody.addEventListener("click", (event) => {
		const line = event.target.closest(".event");
		if (line) {
			state.event = Number(line.dataset.event);
			const half = (view.to - view.from) / 2, t = E.at[state.event];
			if (t < view.from || t > view.to)
				show(t - half, t + half);
			listed();
			redraw();
		}
	});
	$("splitter").addEventListener("pointerdown", (event) => {
		$("splitter").setPointerCapture(event.pointerId);
		$("splitter").onpointermove = (e) => {
			$("panels").style.height = Math.max(60, innerHeight - e.clientY - 4) + "px";
			redraw();
		};
	});
	$("splitter").addEventListener("pointerup", () => { $("splitter").onpointermove = null; });
	new ResizeObserver(changed).observe($("rows"));
	new ResizeObserver(() => { overviewPicture = null; redraw(); }).observe(overview);
}

/* --- The beginning. --- */

/* For scripts, and for whoever looks with the browser's console. */
const page = {
	opened: 0, view, state,
	get rows() { return shown; },
	get events() { return E.n; },
	get matched() { return state.matched.length; },
	words, show, tOf, draw, measure: figures,
	busy: () => queued || !resting,
	strings: () => head.strings,
	/* Where an event is in the window, in the row of its thread, interrupt or device. */
	place(e, column = "thread") {
		const box = timeline.getBoundingClientRect();
		const n = shown.findIndex((r) => r.column === column && r.key === E[column][e]);
		const low = shown[n] && shown[n].spans.index.length && !head.kinds[E.kind[e]].span;
		return [box.left + xOf(E.at[e]) + 1, box.top + rowTop(n) + (low ? 31 : 12)];
	},
};

function introduce() {
	document.title = "skep trace: " + head.title;
	$("title").textContent = head.title;
	$("facts").textContent = counted(E.n) + " events in " + duration(view.most - view.least) +
		" · " + head.threads.length + " threads · " + head.devices.length + " devices · " +
		head.maker;
	$("facts").title = $("facts").textContent;
	if (head.notices.length) {
		$("notice").hidden = false;
		$("notice").textContent = head.notices.join(" ");
	}
}

async function open() {
	const blocks = [...document.querySelectorAll("script.block")];
	const plain = await Promise.all(blocks.map(unpack));
	head = JSON.parse(new TextDecoder().decode(plain.pop()));
	E = makeColumns(head.events);
	for (const bytes of plain)
		readBlock(bytes, E);
	for (const [number, ns] of head.late)
		E.took[number] = ns;
	const first = E.n ? E.at[0] : 0, last = head.end;
	const margin = Math.max((last - first) * 0.005, NARROWEST);
	Object.assign(view, {least: first - margin, most: last + margin});
	Object.assign(view, {from: view.least, to: view.most});
	setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
	top = RULER + (head.phases.length ? STRIP : 0);
	makeRows();
	makeFilters();
	introduce();
	refilter();
	showBoot();
	keys();
	pointer();
	controls();
	draw();
	figures();
	page.opened = performance.now();
	window.skepTrace = page;
	document.documentElement.dataset.ready = "yes";
}

open().catch((reason) => {
	$("facts").textContent = "The trace in this page could not be read: " + reason;
	document.documentElement.dataset.ready = "no";
});
})();
