(() => {
"use strict";

const data = JSON.parse(document.getElementById("report-data").textContent);
const { queries, groups, rows, features, pictures } = data;
const isLabel = data.task === "classification";
const PAGE = 100, N_BARS = 10, N_FEATURES = 12, N_COMPARED = 6, MINUS = "\u2212";
const WORDS = data.raises ? ["raises", "lowers"] : ["supports", "opposes"];
const $ = (id) => document.getElementById(id);

// Elements. Texts become text nodes: nothing in the data is ever read as HTML.

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((each) => each !== null && each !== undefined && each !== false && each !== ""));
  return node;
}

function fill(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((each) => each !== null && each !== undefined && each !== false));
}

function button(text, onclick, attributes) {
  return el("button", { type: "button", class: "plain-button", onclick, ...attributes }, text);
}

// Numbers

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  let text;
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) text = size.toExponential(digits - 1);
  else if (Number.isInteger(size)) text = size.toLocaleString("en-US", { useGrouping: size >= 10000 });
  else if (size >= 1000) text = String(Math.round(size));
  else text = String(Number(size.toPrecision(digits)));
  return (value < 0 ? MINUS : "") + text;
}

function signed(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size < 1e-4 || size >= 1e7 ? size.toExponential(digits - 1)
    : size >= 1000 ? String(Math.round(size)) : String(Number(size.toPrecision(digits)));
  return (value > 0 ? "+" : MINUS) + text;
}

function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share > 0.9995) return "> 99.9%";
  if (share < 0.0005 && share > 0) return "< 0.1%";
  return `${(100 * share).toFixed(1)}%`;
}

const percentInWords = (share) => percent(share).replace("> ", "more than ").replace("< ", "less than ");

// Numbers of one kind, to three digits of the largest.
function formatter(values) {
  const largest = Math.max(...values.map((value) => Math.abs(value || 0)));
  if (largest === 0 || largest < 1e-4 || largest >= 1e5) return (value) => signed(value);
  const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(largest))));
  return (value) => {
    if (value === null || value === undefined) return "–";
    const text = Math.abs(value).toFixed(digits);
    return Number(text) === 0 ? text : (value > 0 ? "+" : MINUS) + text;
  };
}

const withUnit = (text) => (data.unit ? `${text} ${data.unit}` : text);
const plural = (n, word, many = `${word}s`) => `${number(n)} ${n === 1 ? word : many}`;

// The packed matrices: a line is unpacked when it is shown.

function unpacker(packed) {
  if (!packed) return null;
  const bytes = atob(packed.steps);
  const width = groups.name.length;
  return (line) => {
    const values = new Array(width);
    for (let k = 0; k < width; k++) {
      const place = 2 * (line * width + k);
      let step = bytes.charCodeAt(place) | (bytes.charCodeAt(place + 1) << 8);
      if (step >= 32768) step -= 65536;
      values[k] = step * packed.scale[line];
    }
    return values;
  };
}

const effectsOf = unpacker(data.effects), errorsOf = unpacker(data.errors);
const given = data.given && {
  place: new Map(data.given.query.map((query, line) => [query, line])),
  effects: unpacker(data.given.effects), errors: unpacker(data.given.errors), value: data.given.value,
};

// Names

const labelText = (value) => (value === null || value === undefined ? "–"
  : isLabel ? data.classes[value] : number(value, 4));
const queryName = (q) => (queries.name ? queries.name[q] : String(q));
const isWrong = (q) => isLabel && queries.given !== null && queries.given[q] !== queries.predicted[q];

function groupNote(k) {
  const size = plural(groups.size[k], "row");
  if (groups.counts) {
    const main = classesOf(k);
    if (!main.length) return size;
    return main.length === 1 ? `${size} of ${data.classes[main[0]]}` : `${size}: ${classText(k)}`;
  }
  return groups.values ? `${size}, mean ${number(groups.values[k][0])}` : size;
}

const classesOf = (k) => groups.counts[k].map((n, c) => [n, c]).filter(([n]) => n > 0)
  .sort((a, b) => b[0] - a[0]).map(([, c]) => c);

function rowName(place) {
  if (place < 0) return `row ${~place}`;
  return rows.name ? rows.name[place] : `row ${rows.row[place]}`;
}

// Pictures

function picture(text, description, size) {
  if (!text) return null;
  return el("img", { class: `picture ${size}`, src: `data:image/png;base64,${text}`, alt: description, title: description });
}

const queryPicture = (q, size) => pictures && picture(pictures.queries[q], `query ${queryName(q)}`, size);

function rowPicture(place, size) {
  if (!pictures || !pictures.rows || place < 0) return null;
  const label = rows.label ? `, ${isLabel ? "label " : "value "}${labelText(rows.label[place])}` : "";
  return picture(pictures.rows[place], `training ${rowName(place)}${label}`, size);
}

// A table to sort, search, filter and choose from

class DataTable {
  constructor({ root, n, columns, views, search, filter, noun, onchoose }) {
    Object.assign(this, { root, n, columns, views, search, filter, noun, onchoose });
    this.view = views[0];
    this.sorting = { key: columns[0].key, down: false };
    this.page = 0; this.chosen = 0; this.order = [];
    this.build();
    this.update();
  }

  build() {
    this.searchBox = el("input", { type: "search", placeholder: "Search", "aria-label": `Search ${this.noun[1]}`,
                                   oninput: () => this.restart() });
    this.chips = this.views.map((view) => el("button", {
      type: "button", class: "chip", "data-view": view.key, "aria-pressed": String(view === this.view),
      title: view.title, onclick: () => this.show(view.key),
    }, view.count === undefined ? view.label : `${view.label} (${number(view.count)})`));
    this.select = this.filter && el("select", { "aria-label": this.filter.label, onchange: () => this.restart() },
      el("option", { value: "" }, this.filter.all),
      this.filter.options.map(([value, label]) => el("option", { value }, label)));
    this.count = el("p", { class: "count", role: "status" });
    this.heads = this.columns.map((column) => el("th", { scope: "col", class: column.numeric && "number-cell", "data-key": column.key },
      el("button", { type: "button", title: column.title, onclick: () => this.sort(column) }, column.label)));
    this.body = el("tbody", { onkeydown: (event) => this.move(event) });
    this.scroller = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table of ${this.noun[1]}` },
      el("table", { class: "choosable" }, el("thead", {}, el("tr", {}, this.heads)), this.body));
    this.pager = el("div", { class: "pager" });
    fill(this.root, el("div", { class: "toolbar" }, this.searchBox, this.select),
         el("div", { class: "toolbar chips", role: "group", "aria-label": "Show" }, this.chips),
         this.count, this.scroller, this.pager);
  }

  show(key) {
    this.view = this.views.find((view) => view.key === key) || this.views[0];
    this.chips.forEach((chip) => chip.setAttribute("aria-pressed", String(chip.dataset.view === this.view.key)));
    if (this.view.sort) this.sorting = { ...this.view.sort };
    this.restart();
    if (this.order.length && !this.order.includes(this.chosen)) this.choose(this.order[0], false);
  }

  sort(column) {
    const same = this.sorting.key === column.key;
    this.sorting = { key: column.key, down: same ? !this.sorting.down : Boolean(column.downFirst) };
    this.restart();
  }

  restart() {
    this.page = 0;
    this.update();
    this.scroller.scrollTop = 0;
  }

  update() {
    const words = this.searchBox.value.trim().toLowerCase();
    const wanted = this.select ? this.select.value : "";
    this.order = [];
    for (let i = 0; i < this.n; i++) {
      if (this.view.keep && !this.view.keep(i)) continue;
      if (wanted !== "" && !this.filter.keep(i, wanted)) continue;
      if (words && !this.search(i).toLowerCase().includes(words)) continue;
      this.order.push(i);
    }
    const column = this.columns.find((each) => each.key === this.sorting.key);
    const sign = this.sorting.down ? -1 : 1;
    this.order.sort((a, b) => sign * compare(column.value(a), column.value(b), sign) || a - b);
    this.draw();
  }

  draw() {
    this.heads.forEach((head) => {
      if (head.dataset.key !== this.sorting.key) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.sorting.down ? "descending" : "ascending");
    });
    const n = this.order.length, first = this.page * PAGE, last = Math.min(first + PAGE, n);
    this.count.textContent = n === this.n ? plural(n, ...this.noun)
      : `${number(n)} of ${plural(this.n, ...this.noun)}`;
    fill(this.body, n ? this.order.slice(first, last).map((i) => this.line(i))
      : el("tr", {}, el("td", { class: "empty", colspan: String(this.columns.length) }, "Nothing matches.")));
    this.mark();
    this.pager.hidden = n <= PAGE;
    fill(this.pager, button("Previous", () => this.turn(-1), { disabled: first === 0 }),
         el("span", {}, `${number(first + 1)}–${number(last)} of ${number(n)}`),
         button("Next", () => this.turn(1), { disabled: last === n }));
  }

  line(i) {
    return el("tr", { "data-row": String(i), onclick: () => this.choose(i, true) }, this.columns.map((column, c) => {
      const content = column.cell ? column.cell(i) : number(column.value(i));
      if (c > 0) return el("td", { class: column.numeric ? "number-cell" : "text-cell" }, content);
      return el("th", { scope: "row" }, el("span", { class: "row-name" }, column.icon && column.icon(i),
        el("button", { type: "button", class: "name-button", tabindex: "-1" }, content)));
    }));
  }

  turn(step) {
    this.page += step;
    this.draw();
    this.scroller.scrollTop = 0;
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const line = event.target.closest("tr");
    if (!step || !line) return;
    event.preventDefault();
    const next = step > 0 ? line.nextElementSibling : line.previousElementSibling;
    if (!next) return;
    this.choose(Number(next.dataset.row), false);
    next.querySelector("button").focus();
  }

  choose(i, byUser) {
    this.chosen = i;
    this.mark();
    this.onchoose(i, byUser);
  }

  reveal(i) {
    if (!this.order.includes(i)) {
      this.searchBox.value = "";
      if (this.select) this.select.value = "";
      this.view = this.views[0];
      this.chips.forEach((chip, c) => chip.setAttribute("aria-pressed", String(c === 0)));
      this.update();
    }
    this.page = Math.floor(this.order.indexOf(i) / PAGE);
    this.draw();
    this.choose(i, false);
    const line = this.body.querySelector(`[data-row="${i}"]`);
    if (line && this.scroller.clientHeight) this.scroller.scrollTop = line.offsetTop - this.scroller.clientHeight / 2;
  }

  mark() {
    let reachable = null;
    this.body.querySelectorAll("tr[data-row]").forEach((line, place) => {
      const isChosen = Number(line.dataset.row) === this.chosen, inside = line.querySelector("button");
      if (isChosen) line.setAttribute("aria-current", "true"); else line.removeAttribute("aria-current");
      inside.tabIndex = -1;
      if (place === 0 || isChosen) reachable = inside;
    });
    if (reachable) reachable.tabIndex = 0;
  }
}

// Missing values come last, in either direction.
function compare(a, b, sign) {
  const noA = a === null || a === undefined, noB = b === null || b === undefined;
  if (noA || noB) return sign * (Number(noA) - Number(noB));
  if (typeof a === "string" || typeof b === "string") {
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  return a - b;
}

// Signed bars

function bars(lines, attributes, plainNumbers) {
  const low = Math.min(0, ...lines.map((line) => line.value - (line.error || 0)));
  const high = Math.max(0, ...lines.map((line) => line.value + (line.error || 0)));
  const span = high - low || 1, place = (value) => `${(100 * (value - low)) / span}%`;
  const hasRows = lines.some((line) => line.thumbs), text = formatter(lines.map((line) => line.value));
  return el("ul", { class: hasRows ? "bars with-rows" : "bars", ...attributes }, lines.map((line) => {
    const track = el("span", { class: "track", "aria-hidden": "true" });
    const add = (name, from, to) => {
      const part = el("span", { class: name });
      part.style.left = place(Math.min(from, to));
      if (from !== to) part.style.width = `${(100 * Math.abs(to - from)) / span}%`;
      track.append(part);
    };
    const noise = Math.abs(line.value) < 2 * (line.error || 0) ? " noise" : "";
    if (line.value) add(`fill ${line.value > 0 ? "supports" : "opposes"}${noise}`, 0, line.value);
    if (line.error) add("whisker", line.value - line.error, line.value + line.error);
    add("zero", 0, 0);
    return el("li", { "data-key": String(line.key), "data-effect": String(line.value) },
      el("span", { class: "who" }, line.who, line.note && el("span", { class: "note" }, line.note)),
      track,
      el("span", { class: "value" }, plainNumbers ? number(line.value) : text(line.value),
        line.error ? el("small", { title: "standard error by the seed of the training" }, `± ${number(line.error, 2)}`) : null),
      line.thumbs);
  }));
}

function axis() {
  return el("div", { class: "axis", "aria-hidden": "true" }, el("span", {}, `← ${WORDS[1]}`),
            el("span", {}, `${WORDS[0]} →`));
}

// Features of a table

function strip(value, column) {
  const deviation = features.deviation[column];
  if (!features.numeric[column] || value === null || !deviation) return null;
  const z = (value - features.mean[column]) / deviation;
  const dot = el("span", {});
  dot.style.left = `${50 + 50 * Math.max(-1, Math.min(1, z / 3)) * 0.94}%`;
  const text = `${number(Math.abs(z), 2)} standard deviations ${z < 0 ? "below" : "above"} the mean`;
  return el("span", { class: "strip", role: "img", "aria-label": text, title: text }, dot);
}

function unusual(q) {
  const score = (column) => {
    const value = features.queries[column][q], deviation = features.deviation[column];
    if (!features.numeric[column] || value === null || !deviation) return -1;
    return Math.abs(value - features.mean[column]) / deviation;
  };
  return features.name.map((_, column) => column).sort((a, b) => score(b) - score(a) || a - b);
}

function featureTable(q) {
  const order = unusual(q);
  const body = el("tbody", {});
  const draw = (n) => fill(body, order.slice(0, n).map((column) => el("tr", {},
    el("th", { scope: "row" }, features.name[column]),
    el("td", { class: features.numeric[column] ? "number-cell" : "text-cell" }, number(features.queries[column][q], 4)),
    el("td", {}, strip(features.queries[column][q], column)))));
  draw(N_FEATURES);
  const more = order.length > N_FEATURES && button(`Show all ${order.length} features`, () => { draw(order.length); more.remove(); });
  const against = features.rows ? "training rows" : "queries";
  return [
    el("h3", {}, order.length > N_FEATURES ? "Its most unusual features" : "Its features"),
    el("div", { class: "scroll" }, el("table", { class: "features" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Feature"),
      el("th", { scope: "col", class: "number-cell" }, "Value"),
      el("th", { scope: "col", title: "middle: the mean; ends: three standard deviations away" }, `Among ${against}`))), body)),
    more ? el("p", { class: "more" }, more) : null,
  ];
}

// Columns in which the shown rows differ most, for what is usual.
function tellingColumns(places, q) {
  const score = (column) => {
    const values = places.map((place) => features.rows[column][place]);
    if (q !== null) values.push(features.queries[column][q]);
    if (!features.numeric[column]) return new Set(values).size - 1;
    const known = values.filter((value) => value !== null), deviation = features.deviation[column];
    return known.length && deviation ? (Math.max(...known) - Math.min(...known)) / deviation : 0;
  };
  return features.name.map((_, column) => [score(column), column]).sort((a, b) => b[0] - a[0] || a[1] - b[1])
    .slice(0, N_COMPARED).map(([, column]) => column).sort((a, b) => a - b);
}

function comparison(lines, q, caption) {
  const columns = tellingColumns(lines.map((line) => line.place).filter((place) => place !== null && place >= 0), q);
  const cells = (source, place) => columns.map((column) => el("td", { class: features.numeric[column] ? "number-cell" : "text-cell" },
    place === null || place < 0 ? "–" : number(source[column][place])));
  const hasEffect = lines.some((line) => line.effect !== undefined);
  return el("div", { class: "scroll wide", tabindex: "0", role: "region", "aria-label": caption }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Row"), el("th", { scope: "col" }, isLabel ? "Label" : "Value"),
      hasEffect && el("th", { scope: "col", class: "number-cell" }, "Effect"),
      columns.map((column) => el("th", { scope: "col", class: features.numeric[column] && "number-cell" }, features.name[column])))),
    el("tbody", {},
      q === null ? null : el("tr", { class: "this-query" }, el("th", { scope: "row" }, "this query"),
        el("td", {}, labelText(queries.given ? queries.given[q] : queries.predicted[q])),
        hasEffect && el("td", {}), cells(features.queries, q)),
      lines.map((line) => el("tr", {}, el("th", { scope: "row" }, line.name),
        el("td", {}, rows.label && line.place >= 0 ? labelText(rows.label[line.place]) : "–"),
        hasEffect && el("td", { class: "number-cell" }, line.effect === undefined ? "" : signed(line.effect)),
        cells(features.rows, line.place))))));
}

// Predictions

function brittleText(q) {
  const n = queries.toFlip[q];
  return n === null ? "–" : number(Math.max(1, Math.ceil(n)));
}

function queryColumns() {
  const columns = [{ key: "query", label: "Query", value: (q) => (queries.name ? queries.name[q] : q), cell: queryName,
                     icon: (q) => queryPicture(q, "tiny") },
                   { key: "predicted", label: "Predicted", numeric: !isLabel, cell: (q) => labelText(queries.predicted[q]),
                     value: (q) => (isLabel ? labelText(queries.predicted[q]) : queries.predicted[q]) }];
  if (queries.given) columns.push({ key: "given", label: "Given", numeric: !isLabel, cell: (q) => [labelText(queries.given[q]),
    isWrong(q) && el("span", { class: "cross", role: "img", "aria-label": "wrong", title: "wrong" }, "\u00a0✗")],
    value: (q) => (isLabel ? labelText(queries.given[q]) : queries.given[q]) });
  if (queries.error) columns.push({ key: "error", label: "Error", numeric: true, downFirst: true, title: "predicted minus given value; sorted by size",
    cell: (q) => signed(queries.error[q]), value: (q) => queries.error[q] === null ? null : Math.abs(queries.error[q]) });
  if (queries.probability) columns.push({ key: "probability", label: "Probability", numeric: true, title: "the model's probability of the predicted label",
    cell: (q) => percent(queries.probability[q]), value: (q) => queries.probability[q] });
  if (queries.toFlip) columns.push({ key: "flip", label: "Groups to flip", numeric: true,
    title: "the fewest groups without which another label is predicted, if their effects add up; –: not even without all that support it",
    cell: brittleText, value: (q) => queries.toFlip[q] });
  columns.push({ key: "strongest", label: "Largest effect", numeric: true, downFirst: true, title: "absolute effect of the strongest group",
    value: (q) => queries.strongest[q] });
  return columns;
}

// The tenth of the queries that is first by some number.
function firstTenth(value, down) {
  const known = Array.from({ length: queries.n }, (_, q) => q).filter((q) => value(q) !== null && value(q) !== undefined);
  known.sort((a, b) => (down ? value(b) - value(a) : value(a) - value(b)) || a - b);
  return new Set(known.slice(0, Math.max(1, Math.ceil(queries.n / 10))));
}

function queryViews() {
  const views = [{ key: "all", label: "All", sort: { key: "query", down: false } }];
  const add = (key, label, kept, sort, title) => {
    views.push({ key, label, count: kept.size, keep: (q) => kept.has(q), sort: { key: sort[0], down: sort[1] }, title });
  };
  const every = Array.from({ length: queries.n }, (_, q) => q);
  if (isLabel && queries.given) add("wrong", "Wrong", new Set(every.filter(isWrong)), ["query", false], "predicted label is not the given one");
  if (queries.error) add("errors", "Largest errors", firstTenth((q) => Math.abs(queries.error[q]), true), ["error", true], "the tenth with the largest errors");
  if (queries.probability) add("unsure", "Least sure", firstTenth((q) => queries.probability[q]), ["probability", false], "the tenth with the lowest probability");
  if (queries.toFlip) add("brittle", "Most brittle", firstTenth((q) => queries.toFlip[q]), ["flip", false], "the tenth for which the fewest groups decide");
  else add("brittle", "Most brittle", firstTenth((q) => queries.strongest[q], true), ["strongest", true], "the tenth with the largest effect of a single group");
  return views;
}

function querySentences(q) {
  const texts = [];
  if (queries.likeliest) {
    const others = queries.likeliest[q].map((c, i) => [c, queries.likeliestProbability[q][i]])
      .filter(([c]) => c !== queries.predicted[q]).map(([c, share]) => `${data.classes[c]} (${percentInWords(share)})`);
    texts.push(`The model gives ${data.classes[queries.predicted[q]]} a probability of ${percentInWords(queries.probability[q])}; next: ${others.join(", ")}.`);
    const n = queries.toFlip[q];
    const ahead = n === null ? "The predicted effects of all groups that support it do not add up to a change of the label."
      : Math.ceil(n) <= 1 ? "A single group decides it: retrained without that group, the model is expected to predict another label."
      : `By the sum of their predicted effects, ${Math.ceil(n)} groups have to be left out together to change the label.`;
    texts.push(ahead);
  }
  if (queries.error) {
    const error = queries.error[q];
    texts.push(`The prediction is ${withUnit(number(Math.abs(error)))} too ${error > 0 ? "high" : "low"}.`);
  }
  return texts.map((text) => el("p", {}, text));
}

function showQuery(q) {
  const root = $("query-detail");
  const wrong = isWrong(q) && given;
  const body = el("div", {});
  const facts = [el("p", {}, "Predicted ", el("strong", {}, withLabelUnit(queries.predicted[q])),
    queries.given ? [", given ", el("strong", {}, withLabelUnit(queries.given[q]))] : null,
    isLabel && queries.given ? [" ", el("span", { class: `tag ${isWrong(q) ? "bad" : "ok"}` }, isWrong(q) ? "wrong" : "right")] : null)];
  const choices = [["predicted", queries.predicted[q]], ["given", wrong ? queries.given[q] : null]];
  const chips = wrong ? choices.map(([which, code]) => el("button", { type: "button", class: "chip", "data-judged": which,
    onclick: () => draw(which) }, `${which} label: ${labelText(code)}`)) : [];
  const draw = (which) => {
    chips.forEach((chip) => chip.setAttribute("aria-pressed", String(chip.dataset.judged === which)));
    fill(body, effectsPart(q, which));
  };
  fill(root,
    button("Back to the table", () => $("query-list").scrollIntoView(), { class: "plain-button back" }),
    el("div", { class: "query-head" }, queryPicture(q, "large"), el("div", {}, el("h2", {}, `Query ${queryName(q)}`), facts, querySentences(q),
      wrong ? el("div", { class: "switch", role: "group", "aria-label": "Label that the effects are on" }, el("span", {}, "Effects on the "), chips) : null)),
    body, features ? featureTable(q) : null);
  draw("predicted");
  root.scrollTop = 0;
}

const withLabelUnit = (value) => (isLabel ? labelText(value) : withUnit(labelText(value)));

function effectsPart(q, which) {
  const line = which === "given" ? given.place.get(q) : q;
  const effects = which === "given" ? given.effects(line) : effectsOf(q);
  const errorLines = which === "given" ? given.errors : errorsOf;
  const errors = errorLines && errorLines(line);
  const value = which === "given" ? given.value[line] : queries.value[q];
  const label = isLabel ? ` of ${labelText(which === "given" ? queries.given[q] : queries.predicted[q])}` : "";
  const strongest = effects.map((_, k) => k).sort((a, b) => Math.abs(effects[b]) - Math.abs(effects[a]) || a - b);
  const chart = el("div", {});
  const draw = (n) => {
    const shown = strongest.slice(0, n).sort((a, b) => effects[b] - effects[a] || a - b);
    fill(chart, axis(), bars(shown.map((k) => ({ key: k, value: effects[k], error: errors && errors[k], who: groupLink(k), note: groupNote(k),
      thumbs: typicalThumbs(k) })), { id: "query-bars", "data-query": String(q), "data-judged": which }));
  };
  draw(N_BARS);
  const more = strongest.length > N_BARS && button(`Show all ${strongest.length} groups`, () => { draw(strongest.length); more.remove(); });
  const total = `The ${data.quantity}${label} ${data.quantity === "prediction" ? "is" : data.quantity.endsWith("odds") ? "are" : "is"} ${withUnit(data.quantity === "prediction" ? number(value) : signed(value))}`;
  return [
    el("h3", {}, `Groups of training rows: predicted effect on the ${data.quantity}${label}${data.unit ? ` (${data.unit})` : ""}`),
    el("p", { class: "muted" }, `${total}. Each bar is how much lower it would be, by prediction, had the model been retrained without the group.`,
      errors ? " Lines over the bars: plus and minus one standard error by the seed of the training; effects below two are paler." : ""),
    chart, more ? el("p", { class: "more" }, more) : null,
    features && features.rows ? compareQuery(q, shownFor(strongest, effects), which) : influentialPictures(q, which),
  ];
}

const shownFor = (strongest, effects) => strongest.slice(0, N_COMPARED).sort((a, b) => effects[b] - effects[a]);

function typicalThumbs(k) {
  if (!groups.typical || !pictures) return null;
  const images = groups.typical[k].slice(0, 4).map((place) => rowPicture(place, "small"));
  return el("span", { class: "thumbs" }, images);
}

const influenceNote = "Training rows with the largest effects, one at a time, on the predicted label.";

function compareQuery(q, shown, which) {
  const parts = [];
  if (groups.typical) {
    parts.push(el("h3", {}, "Typical rows of the strongest groups"), comparison(shown.map((k) => ({
      name: `typical of ${groups.name[k]}`, place: groups.typical[k].length ? groups.typical[k][0] : null,
    })), q, "Typical rows of the strongest groups"));
  }
  if (data.influence && which === "predicted") {
    parts.push(el("h3", {}, "Most influential single training rows"), comparison(data.influence.rows[q].map((place, i) => ({
      name: rowName(place), place, effect: data.influence.effects[q][i] })), q, "Most influential training rows"));
  }
  return parts;
}

function influentialPictures(q, which) {
  if (!data.influence || which !== "predicted") return null;
  return [el("h3", {}, "Most influential single training rows"), el("p", { class: "muted" }, influenceNote),
    el("ul", { class: "rows" }, data.influence.rows[q].map((place, i) => el("li", {}, el("figure", {}, rowPicture(place, "medium"),
      el("figcaption", {}, rowName(place), rows.label && place >= 0 ? el("span", { class: "muted" }, `: ${labelText(rows.label[place])}`) : null,
        el("br"), el("strong", {}, signed(data.influence.effects[q][i])))))))];
}

// Groups

function groupLink(k) {
  return el("button", { type: "button", class: "name-button", title: "Show this group",
                        onclick: () => { openTab("groups", true); groupTable.reveal(k); } }, groups.name[k]);
}

function queryLink(q, text) {
  return el("li", {}, el("button", { type: "button", class: "name-button", onclick: () => { openTab("predictions", true); queryTable.reveal(q); } },
    `query ${queryName(q)}`), " ", el("span", { class: "value" }, text));
}

const lossName = isLabel ? "log loss" : "half squared error";
const hurts = (k) => groups.hurts !== null && groups.hurts[k];
const meanText = formatter(groups.mean), truthText = groups.onTruth && formatter(groups.onTruth);

function groupColumns() {
  const columns = [{ key: "group", label: "Group", cell: (k) => groups.name[k], value: (k) => groups.name[k] },
                   { key: "size", label: "Rows", numeric: true, downFirst: true, value: (k) => groups.size[k] }];
  if (groups.counts) columns.push({ key: "class", label: "Classes", cell: classText, value: classText });
  if (groups.values) columns.push({ key: "value", label: "Mean value", numeric: true, value: (k) => groups.values[k][0] });
  columns.push({ key: "mean", label: "Mean effect", numeric: true, downFirst: true, title: "mean over all queries of the effect on the predicted label",
    cell: (k) => meanText(groups.mean[k]), value: (k) => groups.mean[k] },
  { key: "supports", label: data.raises ? "Raises" : "Supports", numeric: true, downFirst: true, title: `share of the queries that the group ${WORDS[0]}`,
    cell: (k) => percent(groups.supports[k]), value: (k) => groups.supports[k] });
  if (groups.onTruth) columns.push({ key: "truth", label: "Benefit", numeric: true,
    title: `by how much the mean ${lossName} of the queries is expected to rise without the group; marked where it falls by more than two standard errors over queries`,
    cell: (k) => [hurts(k) ? [el("span", { class: "tag bad" }, "hurts"), " "] : null, truthText(groups.onTruth[k])].flat(), value: (k) => groups.onTruth[k] });
  return columns;
}

function classText(k) {
  const all = classesOf(k);
  if (all.length === 1) return data.classes[all[0]];
  const shown = all.slice(0, 2).map((c) => `${data.classes[c]} (${groups.counts[k][c]})`);
  return shown.join(", ") + (all.length > 2 ? ", …" : "");
}

function groupViews() {
  const every = groups.name.map((_, k) => k);
  const views = [{ key: "all", label: "All", sort: { key: "group", down: false } }];
  const harmful = every.filter(hurts);
  if (groups.onTruth) views.push({ key: "hurt", label: "Groups that hurt", count: harmful.length, keep: hurts, sort: { key: "truth", down: false },
    title: `the mean ${lossName} of the queries is expected to fall without them, by more than two standard errors over queries` });
  return views;
}

function truthSentence(k) {
  if (!groups.onTruth) return "Whether the group helps or hurts is not known: the queries came without labels.";
  const value = groups.onTruth[k];
  const size = `${number(Math.abs(value), 2)} ± ${number(groups.onTruthError[k], 2)}`;
  if (hurts(k)) return `This group hurts: retrained without it, the model is expected to predict the given ${isLabel ? "labels" : "values"} better. The mean ${lossName} would fall by ${size} (standard error over queries).`;
  if (value > 2 * groups.onTruthError[k]) return `This group helps: retrained without it, the model is expected to predict the given ${isLabel ? "labels" : "values"} worse. The mean ${lossName} would rise by ${size} (standard error over queries).`;
  return `Over all queries it neither helps nor hurts clearly: without it, the mean ${lossName} is expected to change by ${signed(value, 2)} ± ${number(groups.onTruthError[k], 2)} (standard error over queries).`;
}

function showGroup(k) {
  const byKind = groups.meanByKind[k].map((value, kind) => ({ key: kind, value, who: groups.kinds[kind] })).filter((line) => line.value !== null);
  const strongest = byKind.slice().sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 12);
  const kinds = isLabel ? strongest.sort((a, b) => b.value - a.value) : byKind;
  const most = groups.most[k].map((q) => [q, effectsOf(q)[k]]).filter(([, value]) => value > 0);
  const least = groups.least[k].map((q) => [q, effectsOf(q)[k]]).filter(([, value]) => value < 0);
  const list = (title, found) => el("div", {}, el("h3", {}, title), found.length ? el("ul", { class: "links" },
    found.map(([q, value]) => queryLink(q, `${withLabelUnit(queries.predicted[q])}: ${signed(value)}`))) : el("p", { class: "muted" }, "None."));
  fill($("group-detail"),
    button("Back to the table", () => $("group-list").scrollIntoView(), { class: "plain-button back" }),
    el("h2", {}, groups.name[k].startsWith("group ") ? `G${groups.name[k].slice(1)}` : `Group ${groups.name[k]}`),
    el("p", {}, `${groupNote(k)}. It ${WORDS[0]} ${percent(groups.supports[k])} of the predictions; its mean effect is ${withUnit(signed(groups.mean[k]))}, with a standard deviation of ${number(groups.spread[k])} over queries.`),
    el("p", {}, truthSentence(k)),
    groups.counts && classesOf(k).length > 1 ? [el("h3", {}, "Rows of each class"), bars(classesOf(k).slice(0, 12).map((c) => ({ key: c, value: groups.counts[k][c], who: data.classes[c] })), { class: "bars counts" }, true)] : null,
    el("h3", {}, isLabel ? "Mean effect on queries predicted as" : "Mean effect on queries by their value"), axis(), bars(kinds, { id: "kind-bars", "data-group": String(k) }),
    typicalPart(k),
    el("div", { class: "two" }, list(`Queries that it ${WORDS[0]} most`, most), list(`Queries that it ${WORDS[1]} most`, least)));
  $("group-detail").scrollTop = 0;
}

function typicalPart(k) {
  if (!groups.typical) return null;
  const places = groups.typical[k];
  const content = features && features.rows ? comparison(places.map((place) => ({ name: rowName(place), place })), null, "Typical rows")
    : el("ul", { class: "rows" }, places.map((place) => el("li", {}, el("figure", {}, rowPicture(place, "medium"),
      el("figcaption", {}, rowName(place), rows.label ? el("span", { class: "muted" }, `: ${labelText(rows.label[place])}`) : null)))));
  return [el("h3", {}, "Typical rows"), content];
}

// Labels

const ticked = new Set();

function csvCell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  // A spreadsheet would run a text that starts like a formula.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const found = data.labels;
  const raw = (value) => (isLabel ? data.classes[value] : value);
  const lines = [["row", ...(found.name ? ["name"] : []), "given", isLabel ? "suggested" : "predicted", ...(found.wrong ? ["probability_wrong"] : []), "score"]];
  found.row.forEach((row, i) => {
    if (ticked.has(i)) lines.push([row, ...(found.name ? [found.name[i]] : []), raw(found.given[i]), raw(found.suggested[i]), ...(found.wrong ? [found.wrong[i]] : []), found.score[i]]);
  });
  return lines.map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function download() {
  const link = el("a", { href: `data:text/csv;charset=utf-8,${encodeURIComponent(csv())}`, download: "suspicious_rows.csv" });
  document.body.append(link);
  link.click();
  link.remove();
}

function labelsPart() {
  const root = $("panel-labels"), found = data.labels;
  if (!found) {
    fill(root, el("div", { class: "card" }, el("h2", {}, "Suspicious rows"), el("p", {},
      "There is nothing to show: the report was made without labels of the training rows or of the queries.")));
    return;
  }
  const what = found.source === "training" ? "training row" : "query";
  const differs = (i) => found.given[i] !== found.suggested[i];
  const visible = () => found.row.map((_, i) => i).filter((i) => (!only.checked || differs(i)) && (choice.value === "" || String(found.given[i]) === choice.value));
  const redraw = () => { fill(holder, pictures ? sheet(visible()) : suspectTable(visible())); note(); };
  const only = el("input", { type: "checkbox", id: "only-different", onchange: redraw });
  const classes = isLabel ? [...new Set(found.given)].sort((a, b) => a - b) : [];
  const choice = el("select", { "aria-label": "Given label", onchange: redraw }, el("option", { value: "" }, "all given labels"),
    classes.map((c) => el("option", { value: String(c) }, data.classes[c])));
  const save = button("Download CSV", download, { id: "download-csv", class: "plain-button strong" });
  const status = el("span", { class: "muted", role: "status" });
  const holder = el("div", {});
  const note = () => {
    save.disabled = ticked.size === 0;
    save.textContent = ticked.size ? `Download CSV of ${plural(ticked.size, "row")}` : "Download CSV";
    status.textContent = `${plural(visible().length, "row")} shown, ${number(ticked.size)} ticked`;
  };
  const tickAll = (on) => { visible().forEach((i) => (on ? ticked.add(i) : ticked.delete(i))); redraw(); };
  const tick = (i) => el("input", { type: "checkbox", "data-row": String(found.row[i]), checked: ticked.has(i), "aria-label": `tick ${nameOf(i)}`,
    onchange: (event) => { if (event.target.checked) ticked.add(i); else ticked.delete(i); note(); } });
  const nameOf = (i) => (found.name ? found.name[i] : `${found.source === "training" ? "row" : "query"} ${found.row[i]}`);
  const suggestion = isLabel ? "suggested" : "predicted";
  const change = (i) => (differs(i) ? el("span", { class: "change" }, `${labelText(found.given[i])} → ${labelText(found.suggested[i])}`)
    : el("span", { class: "change" }, labelText(found.given[i]), el("small", { class: "muted" }, " no better label")));
  const sheet = (shown) => el("ul", { class: "sheet" }, shown.map((i) => el("li", {}, el("label", {}, tick(i), nameOf(i),
    found.source === "training" ? rowPicture(found.place[i], "sheet-picture") : queryPicture(found.place[i], "sheet-picture"),
    change(i),
    el("span", { class: "muted" }, found.wrong ? `${percent(found.wrong[i])} wrong` : `score ${signed(found.score[i])}`)))));
  const suspectTable = (shown) => {
    const source = features && (found.source === "training" ? features.rows : features.queries);
    const columns = source ? tellingFor(source, found.place) : [];
    return el("div", { class: "scroll wide", tabindex: "0", role: "region", "aria-label": "Suspicious rows" }, el("table", {}, el("thead", {}, el("tr", {},
      ["Row", "Given", isLabel ? "Suggested" : "Predicted", found.wrong ? "Wrong" : "Score", ...columns.map((c) => features.name[c])].map((text, c) =>
        el("th", { scope: "col", class: c > 2 && "number-cell" }, text)))),
      el("tbody", {}, shown.map((i) => el("tr", {}, el("th", { scope: "row" }, el("label", {}, tick(i), nameOf(i))),
        el("td", {}, labelText(found.given[i])), el("td", {}, differs(i) ? el("strong", {}, labelText(found.suggested[i])) : el("span", { class: "muted" }, labelText(found.suggested[i]))),
        el("td", { class: "number-cell" }, found.wrong ? percent(found.wrong[i]) : signed(found.score[i])),
        columns.map((c) => el("td", { class: "number-cell" }, number(source[c][found.place[i]]))))))));
  };
  const tellingFor = (source, places) => features.name.map((_, c) => {
    if (!features.numeric[c] || !features.deviation[c]) return [0, c];
    const far = places.map((place) => Math.abs((source[c][place] ?? features.mean[c]) - features.mean[c]) / features.deviation[c]);
    return [far.reduce((a, b) => a + b, 0), c];
  }).sort((a, b) => b[0] - a[0]).slice(0, 5).map(([, c]) => c).sort((a, b) => a - b);
  const meaning = isLabel
    ? "The percentage is the estimated probability that the given label is wrong, by networks that were trained without the row. The suggested label is the likeliest one."
    : `The score is the ${found.quantity}${found.unit ? ` (${found.unit})` : ""} by networks that were trained without the row. Low: the given value is far from what other rows suggest.`;
  fill(root, el("h2", {}, `The ${plural(found.row.length, "most suspicious " + what, "most suspicious " + (what === "query" ? "queries" : what + "s"))} of ${number(found.nRows)}`),
    el("p", { class: "intro muted" }, `${meaning} Tick the rows to check and save a list of them as CSV. The file has ${found.name ? "their names and " : ""}their position in the data, counted from 0.`),
    el("div", { class: "toolbar" }, isLabel ? choice : null, isLabel ? el("label", {}, only, `only where given and ${suggestion} differ`) : null,
      button("Tick all shown", () => tickAll(true)), button("Untick all shown", () => tickAll(false)), save, status), holder);
  redraw();
}

// Tiles, tabs, and where in the report we are

function tile(text, what, onclick) {
  const parts = [el("span", { class: "number" }, text), el("span", { class: "what" }, what)];
  return onclick ? el("button", { type: "button", class: "tile", onclick }, parts) : el("div", { class: "tile" }, parts);
}

function tiles() {
  const list = [];
  const goTo = (tab, table, view) => () => { openTab(tab, true); if (table && view) table().show(view); };
  const queryTableOf = () => queryTable, groupTableOf = () => groupTable;
  if (isLabel && queries.given) {
    const wrong = queries.given.filter((_, q) => isWrong(q)).length;
    list.push(tile(percent((queries.n - wrong) / queries.n), `of ${plural(queries.n, "prediction")} right`));
    list.push(tile(number(wrong), wrong === 1 ? "wrong prediction" : "wrong predictions", goTo("predictions", queryTableOf, "wrong")));
  } else {
    list.push(tile(number(queries.n), queries.n === 1 ? "prediction" : "predictions", goTo("predictions")));
    if (queries.error) {
      const mean = queries.error.reduce((a, b) => a + Math.abs(b), 0) / queries.n;
      list.push(tile(number(mean), `mean absolute error${data.unit ? ` (${data.unit})` : ""}`, goTo("predictions", queryTableOf, "errors")));
    }
  }
  if (queries.toFlip) {
    const single = queries.toFlip.filter((n) => n !== null && n <= 1).length;
    list.push(tile(number(single), single === 1 ? "prediction that one group decides" : "predictions that one group decides", goTo("predictions", queryTableOf, "brittle")));
  }
  const harmful = groups.name.filter((_, k) => hurts(k)).length;
  if (groups.onTruth) list.push(tile(number(harmful), `of ${groups.name.length} groups hurt`, goTo("groups", groupTableOf, "hurt")));
  else list.push(tile(number(groups.name.length), "groups of training rows", goTo("groups")));
  if (data.labels) list.push(tile(number(data.labels.row.filter((_, i) => !isLabel || data.labels.given[i] !== data.labels.suggested[i]).length),
    isLabel ? "suspicious labels to check" : "most suspicious values to check", goTo("labels")));
  fill($("tiles"), list);
}

const tabs = [...document.querySelectorAll('[role="tab"]')];

function openTab(name, focus) {
  tabs.forEach((tab) => {
    const isOpen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(isOpen));
    tab.tabIndex = isOpen ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !isOpen;
    if (isOpen) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (isOpen && focus) tab.focus({ preventScroll: true });
  });
  remember(name);
  if (focus) window.scrollTo(0, 0);
}

function remember(place) {
  // Frames in a notebook have no address of their own.
  try { history.replaceState(null, "", `#${place}`); } catch (error) { /* stays without */ }
}

function goToAddress() {
  const [name, item] = location.hash.slice(1).split("=");
  if (!tabs.some((tab) => tab.id === `tab-${name}`)) return;
  openTab(name, false);
  const place = Number(item);
  if (item && name === "predictions" && place >= 0 && place < queries.n) queryTable.reveal(place);
  if (item && name === "groups" && place >= 0 && place < groups.name.length) groupTable.reveal(place);
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => openTab(tab.id.slice(4), false));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : step ? (i + step + tabs.length) % tabs.length : null;
    if (next === null) return;
    event.preventDefault();
    openTab(tabs[next].id.slice(4), true);
  });
});

const isNarrow = () => window.matchMedia("(max-width: 860px)").matches;

function detailShower(name, show) {
  return (i, byUser) => {
    show(i);
    if (!$(`panel-${name}`).hidden) remember(`${name}=${i}`);
    if (byUser && isNarrow()) $(name === "predictions" ? "query-detail" : "group-detail").scrollIntoView();
  };
}

const queryTable = new DataTable({ root: $("query-list"), n: queries.n, noun: ["prediction", "predictions"], columns: queryColumns(), views: queryViews(),
  search: (q) => [queryName(q), labelText(queries.predicted[q]), queries.given ? labelText(queries.given[q]) : ""].join(" "),
  filter: isLabel && { label: "Predicted label", all: "all predicted labels", options: data.classes.map((label, c) => [String(c), label]),
                       keep: (q, code) => String(queries.predicted[q]) === code },
  onchoose: detailShower("predictions", showQuery) });
const groupTable = new DataTable({ root: $("group-list"), n: groups.name.length, noun: ["group", "groups"], columns: groupColumns(), views: groupViews(),
  search: (k) => [groups.name[k], groups.counts ? classesOf(k).map((c) => data.classes[c]).join(" ") : ""].join(" "),
  onchoose: detailShower("groups", showGroup) });

document.querySelector('[data-count="queries"]').textContent = number(queries.n);
document.querySelector('[data-count="groups"]').textContent = number(groups.name.length);
document.querySelector('[data-count="labels"]').textContent = data.labels ? number(data.labels.row.length) : "";
tiles();
labelsPart();
queryTable.choose(queryTable.order[0], false);
groupTable.choose(groupTable.order[0], false);
goToAddress();
window.addEventListener("hashchange", goToAddress);
})();
