"use strict";
// Interaction of the report. Everything that it does is optional: the page is readable without it, except for the map.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  document.documentElement.classList.add("js");

  // The section that is read, in the navigation.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.classList.remove("here"));
      links.get(entry.target.id)?.classList.add("here");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  all("main > section").forEach((section) => seen.observe(section));

  // A box with text beside the pointer.
  const tip = one("#tip");
  const showTip = (event, text) => {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  };

  // Heat maps: row, column and value of a cell.
  for (const svg of all("svg[data-heat]")) {
    const heat = JSON.parse(svg.dataset.heat);
    const image = one("image", svg);
    const columns = heat.values.length / heat.rows.length;
    svg.addEventListener("pointermove", (event) => {
      const box = image.getBoundingClientRect();
      const x = Math.floor((event.clientX - box.left) / box.width * columns);
      const y = Math.floor((event.clientY - box.top) / box.height * heat.rows.length);
      const inside = x >= 0 && x < columns && y >= 0 && y < heat.rows.length;
      const value = inside ? heat.values[y * columns + x] / 1000 : 0;
      showTip(event, inside && `${heat.rows[y]} → ${heat.columns[x] ?? x}: ${value.toFixed(3)}`);
    });
    svg.addEventListener("pointerleave", (event) => showTip(event, ""));
  }

  // The gallery: filters, and the keyboard.
  const gallery = one("#gallery");
  if (gallery) {
    const rows = all(".answer", gallery);
    const filter = { words: one("[name=words]", gallery), camera: one("[name=camera]", gallery), learner: one("[name=learner]", gallery) };
    const apply = () => {
      const words = filter.words.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const fits = (!words || row.dataset.class.toLowerCase().includes(words) || row.dataset.query === words)
          && (!filter.camera?.value || row.dataset.camera === filter.camera.value)
          && (!filter.learner?.value || (row.dataset.learners ?? "").split(" ").includes(filter.learner.value));
        row.classList.toggle("hidden", !fits);
        shown += fits;
      }
      one("[name=shown]", gallery).textContent = words || filter.camera?.value || filter.learner?.value ? `${shown} of ${rows.length} rows` : "";
    };
    Object.values(filter).forEach((input) => input?.addEventListener("input", apply));
    let at = null;
    document.addEventListener("keydown", (event) => {
      if (event.target.matches("input[type=text], input[type=search], select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
      const tabs = all(".tabs > input", gallery);
      if (/^[1-9]$/.test(event.key) && tabs[event.key - 1]) {
        tabs[event.key - 1].checked = true;
        gallery.scrollIntoView();
        return;
      }
      if (event.key !== "j" && event.key !== "k") return;
      const visible = rows.filter((row) => row.offsetParent);
      const next = visible[Math.max(0, visible.indexOf(at) + (event.key === "j" ? 1 : -1))];
      if (!next) return;
      at?.classList.remove("at");
      at = next;
      at.classList.add("at");
      at.scrollIntoView({ block: "center" });
    });
  }

  // A link to a query opens the list that it is in.
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const panel = target && target.closest(".panel");
    if (!panel) return;
    document.getElementById(panel.dataset.tab).checked = true;
    target.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", open);
  open();

  // Downloads, of text that is in the page.
  for (const button of all("button[data-save]")) {
    button.addEventListener("click", () => {
      const blob = new Blob([one(button.dataset.from).textContent], { type: "text/plain" });
      save(blob, button.dataset.save);
    });
  }
  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
})();
