"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const counted = (number) => number.toLocaleString("en-US");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // --- what is remembered when the page is loaded again ------------------------------------------

  const KEY = `ganforge:${location.pathname}`;
  let kept = {};
  try { kept = JSON.parse(sessionStorage.getItem(KEY)) || {}; } catch { /* a fresh page, then */ }

  const hidden = new Set((kept.hidden || []).filter((name) => data.runs.includes(name)));
  const isShown = (run) => !hidden.has(data.runs[run]);

  // --- samples -----------------------------------------------------------------------------------

  const time = byId("time");
  const moments = [...new Set(data.sheets.flatMap((sheets) => sheets.steps))].sort((a, b) => a - b);

  function showSheets() {
    const step = moments[time.value];
    byId("time-shown").textContent = counted(step);
    time.setAttribute("aria-valuetext", `step ${counted(step)}`);
    for (const picture of find("[data-sheet]")) {
      const { steps, pictures } = data.sheets[picture.dataset.sheet];
      const place = Math.max(0, steps.findLastIndex((own) => own <= step));
      if (picture.dataset.place === String(place)) continue;
      picture.dataset.place = place;
      picture.src = pictures[place];
      picture.alt = `Samples of ${data.runs[picture.dataset.sheet]} at step ${counted(steps[place])}`;
      picture.parentElement.querySelector(".sheet-step").textContent = `step ${counted(steps[place])}`;
    }
  }

  let playing = 0;
  function play(on) {
    clearInterval(playing);
    playing = 0;
    const button = byId("play");
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Stop" : "Play";
    if (!on) return;
    if (Number(time.value) === moments.length - 1) time.value = 0;
    showSheets();
    playing = setInterval(() => {
      time.value = Number(time.value) + 1;
      showSheets();
      if (Number(time.value) === moments.length - 1) play(false);
    }, 450);
  }

  if (time && moments.length > 1) {
    time.max = moments.length - 1;
    const place = kept.step === undefined ? -1 : moments.findLastIndex((step) => step <= kept.step);
    time.value = place < 0 ? moments.length - 1 : place;
    time.addEventListener("input", () => { play(false); showSheets(); });
    byId("play").addEventListener("click", () => play(!playing));
    byId("play").closest(".controls").hidden = false;
    showSheets();
  }

  // --- graphs ------------------------------------------------------------------------------------

  const figures = find("[data-chart]");
  const drawn = new Set();
  const whole = [0, Math.max(1, data.last) * 1.005];
  let range = Array.isArray(kept.range) && kept.range[1] <= whole[1] * 1.001 ? kept.range : whole;
  let printing = false;
  const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function onPaper(colour) { // lighter where the paper is dark
    if (printing || !dark.matches) return colour;
    const parts = colour.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
    return `rgb(${parts.map((part) => Math.round(part * 0.62 + 255 * 0.38)).join(",")})`;
  }

  function traces(figure) {
    const behind = byId("behind").checked;
    const found = [];
    data.charts[figure.dataset.chart].curves.forEach((curve, number) => {
      const box = figure.querySelector(`[data-curve="${number}"]`);
      if (!isShown(curve.run) || (box && !box.checked)) return;
      const colour = onPaper(curve.colour);
      const common = { type: "scatter", mode: "lines", name: escaped(curve.label), connectgaps: false };
      const dot = curve.x.length === 1 ? { mode: "markers" } : {};
      if (behind && curve.window > 1) {
        const line = { color: colour, width: 0.8 };
        found.push({ ...common, x: curve.x, y: curve.y, line, opacity: 0.3, hoverinfo: "skip" });
      }
      const line = { color: colour, width: 1.8, dash: curve.dash || "solid" };
      const hovertemplate = `%{y:.4g}<extra>${escaped(curve.label)}</extra>`;
      found.push({ ...common, ...dot, x: curve.smoothX, y: curve.smoothY, line, hovertemplate, marker: { color: colour } });
    });
    return found;
  }

  // Plotly reads a few HTML tags in names; what runs are called is text.
  function escaped(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "%&#123;");
  }

  function layout(figure) {
    const chart = data.charts[figure.dataset.chart];
    const axis = { gridcolor: theme("--line"), linecolor: theme("--line"), zeroline: false, automargin: true, tickfont: { color: theme("--faint") } };
    const size = printing ? { width: 320, height: 190, autosize: false } : { autosize: true };
    return {
      ...size,
      margin: { l: 48, r: 8, t: 8, b: 34 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: theme("--ink") },
      showlegend: false,
      hovermode: chart.curves.length > 4 ? "closest" : "x unified",
      hoverlabel: { bgcolor: theme("--paper"), bordercolor: theme("--line"), font: { color: theme("--ink") } },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, range: [...range], showgrid: false, tickformat: ",~d", hoverformat: ",d", nticks: 6 },
      yaxis: { ...axis, ...(chart.limits ? { range: chart.limits } : {}), nticks: 6, fixedrange: false },
    };
  }

  const config = { responsive: true, displayModeBar: false };

  function draw(figure) {
    const plot = figure.querySelector(".plot");
    Plotly.react(plot, traces(figure), layout(figure), config);
    if (drawn.has(figure)) return;
    drawn.add(figure);
    plot.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change) zoomTo([change["xaxis.range[0]"], change["xaxis.range[1]"]], figure);
      else if (change["xaxis.autorange"]) zoomTo(whole);
    });
    plot.on("plotly_doubleclick", () => { zoomTo(whole); return false; });
  }

  function redraw() {
    for (const figure of drawn) draw(figure);
  }

  function zoomTo(wanted, except) {
    const [low, high] = [Math.max(whole[0], wanted[0]), Math.min(whole[1], wanted[1])];
    range = high - low >= 1 ? [low, high] : range;
    for (const figure of drawn) if (figure !== except) draw(figure);
  }

  const zooms = {
    in: (low, high) => [low + (high - low) / 4, high - (high - low) / 4],
    out: (low, high) => [low - (high - low) / 2, high + (high - low) / 2],
    earlier: (low, high) => moved(low, high, -(high - low) / 2),
    later: (low, high) => moved(low, high, (high - low) / 2),
    all: () => whole,
  };

  function moved(low, high, by) {
    const within = Math.max(whole[0] - low, Math.min(whole[1] - high, by));
    return [low + within, high + within];
  }

  if (figures.length) {
    byId("zooming").hidden = false;
    byId("behind").checked = kept.behind !== false;
    byId("behind").addEventListener("change", redraw);
    for (const button of find("[data-zoom]")) {
      button.addEventListener("click", () => zoomTo(zooms[button.dataset.zoom](...range)));
    }
    for (const box of find("[data-curve]")) {
      box.checked = !(kept.curves || []).includes(box.id);
      box.addEventListener("change", () => draw(box.closest("[data-chart]")));
    }
    const coming = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        coming.unobserve(entry.target);
        draw(entry.target);
      }
    }, { rootMargin: "600px" });
    figures.forEach((figure) => coming.observe(figure));
    dark.addEventListener("change", redraw);
  }

  // --- runs --------------------------------------------------------------------------------------

  function showRuns() {
    for (const box of find("[data-run]")) box.checked = isShown(box.dataset.run);
    for (const sheet of find("[data-of-run]")) sheet.hidden = !isShown(sheet.dataset.ofRun);
    const count = byId("runs-count");
    if (count) count.textContent = `${data.runs.length - hidden.size} of ${data.runs.length}`;
  }

  for (const box of find("[data-run]")) {
    box.addEventListener("change", () => {
      hidden[box.checked ? "delete" : "add"](data.runs[box.dataset.run]);
      showRuns();
      redraw();
    });
  }
  showRuns();

  // --- blind comparison --------------------------------------------------------------------------

  const answers = []; // {kind, generator, runs, steps, chosen}
  let asked = null; // {question, order, sides, chosen}

  function shuffled(count) {
    const order = [...Array(count).keys()];
    for (let last = count - 1; last > 0; last--) {
      const other = Math.floor(Math.random() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  function begin() {
    const question = data.blind[byId("question").value];
    const order = shuffled(question.pairs.length);
    asked = { question, order, sides: order.map(() => Math.random() < 0.5), chosen: [] };
    byId("pair").hidden = false;
    showPair();
    byId("pair").scrollIntoView({ block: "nearest" });
    find("[data-side]")[0].focus({ preventScroll: true });
  }

  function showPair() {
    const place = asked.chosen.length;
    const [first, second] = asked.question.pairs[asked.order[place]];
    const swapped = asked.sides[place];
    byId("left").src = swapped ? second : first;
    byId("right").src = swapped ? first : second;
    const which = asked.question.kind === "real-or-fake" ? "Which one is real?" : "Which one is better?";
    byId("asked").textContent = `${which} Pair ${place + 1} of ${asked.order.length}`;
  }

  function choose(side) {
    asked.chosen.push(Number(side) ^ Number(asked.sides[asked.chosen.length]));
    if (asked.chosen.length < asked.order.length) showPair();
    else end();
  }

  function end() {
    const { question, chosen } = asked;
    asked = null;
    byId("pair").hidden = true;
    byId("begin").focus();
    if (!chosen.length) return;
    answers.push({ kind: question.kind, generator: question.generator, runs: question.runs, steps: question.steps, chosen });
    const first = chosen.filter((one) => one === 0).length;
    const [low, high] = wilson(first, chosen.length);
    const percent = (share) => `${(100 * share).toFixed(0)} %`;
    const said = question.kind === "real-or-fake"
      ? `${question.runs[0]}: you found the real one`
      : `${question.runs.join(" or ")}: you chose ${question.runs[0]}`;
    const line = document.createElement("p");
    line.textContent = `${said} in ${first} of ${chosen.length} pairs: ${percent(first / chosen.length)}, 95 % interval ${percent(low)} to ${percent(high)}.`;
    byId("verdicts").append(line);
    offerFile();
  }

  function wilson(hits, count) {
    const z = 1.959964, share = hits / count, around = 1 + z * z / count;
    const middle = share + z * z / (2 * count);
    const half = z * Math.sqrt(share * (1 - share) / count + z * z / (4 * count * count));
    return [Math.max(0, (middle - half) / around), Math.min(1, (middle + half) / around)];
  }

  const id = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  function offerFile() {
    const file = { "ganforge-choices": data.choices, id, made: new Date().toISOString(), comparisons: answers };
    const link = byId("save");
    if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
    link.download = `choices-${id.slice(0, 6)}.json`;
    byId("saving").hidden = false;
  }

  if (data.blind.length) {
    byId("asking").hidden = false;
    byId("begin").addEventListener("click", begin);
    byId("enough").addEventListener("click", end);
    for (const button of find("[data-side]")) button.addEventListener("click", () => choose(button.dataset.side));
    document.addEventListener("keydown", (event) => {
      const side = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
      const elsewhere = event.target.matches("input, select, textarea") || event.repeat;
      if (!asked || side === undefined || elsewhere || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      choose(side);
    });
  }

  // --- print -------------------------------------------------------------------------------------

  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    const left = data.alone ? /^numbers-/ : /^(numbers|given|resolved)-/; // dozens of pages
    closed = find("details:not([open])").filter((one) => !left.test(one.id));
    closed.forEach((one) => { one.open = true; });
    figures.forEach(draw);
  });
  addEventListener("afterprint", () => {
    printing = false;
    closed.forEach((one) => { one.open = false; });
    redraw();
  });

  // --- loading again -----------------------------------------------------------------------------

  let again = false;

  function remember() {
    const atEnd = !time || Number(time.value) === moments.length - 1;
    const state = {
      step: atEnd ? undefined : moments[time.value],
      hidden: [...hidden],
      curves: find("[data-curve]").filter((box) => !box.checked).map((box) => box.id),
      behind: figures.length ? byId("behind").checked : true,
      range: range === whole ? undefined : range,
      open: find("details[id]").map((one) => [one.id, one.open]),
      question: byId("question") && byId("question").value,
      focus: document.activeElement && document.activeElement.id,
      top: scrollY,
      again,
      reloading: !byId("reloading") || byId("reloading").checked,
    };
    try { sessionStorage.setItem(KEY, JSON.stringify(state)); } catch { /* then it starts afresh */ }
  }

  for (const [name, open] of kept.open || []) if (byId(name)) byId(name).open = open;
  if (kept.question && byId("question")) byId("question").value = kept.question;
  addEventListener("pagehide", remember);

  if (kept.again) { // the page did it, so nobody should notice
    history.scrollRestoration = "manual";
    scrollTo({ top: kept.top || 0, behavior: "instant" });
    if (kept.focus && byId(kept.focus)) byId(kept.focus).focus({ preventScroll: true });
  }
  if (data.watch) {
    byId("reloading").checked = kept.reloading !== false;
    let held = false;
    addEventListener("pointerdown", () => { held = true; });
    addEventListener("pointerup", () => { held = false; });
    addEventListener("pointercancel", () => { held = false; });
    setInterval(() => {
      if (held || playing || document.hidden || !byId("reloading").checked) return;
      again = true;
      location.reload();
    }, data.watch * 1000);
  }
})();
