// While the sound plays, a line goes over every picture; a click on a picture moves the sound there.
"use strict";
(() => {
  const audio = document.querySelector(".player audio");
  const place = document.querySelector(".recording");
  if (!audio || !place) return;
  const duration = Number(place.dataset.duration) || 0;
  const lines = [];
  for (const plot of place.querySelectorAll("svg.plot")) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "cursor");
    line.setAttribute("y2", String(Number(plot.getAttribute("height")) - 22));
    line.setAttribute("visibility", "hidden");
    plot.append(line);
    lines.push(line);
    plot.addEventListener("click", (event) => {
      const box = plot.getBoundingClientRect();
      audio.currentTime = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * duration;
    });
  }
  const show = () => {
    const share = duration ? audio.currentTime / duration : 0;
    for (const line of lines) {
      line.setAttribute("x1", `${share * 100}%`);
      line.setAttribute("x2", `${share * 100}%`);
      line.setAttribute("visibility", "visible");
    }
    if (!audio.paused) requestAnimationFrame(show);
  };
  audio.addEventListener("play", show);
  audio.addEventListener("seeked", show);
})();
