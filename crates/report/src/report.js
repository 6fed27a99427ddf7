(() => {
  const replay = document.getElementById("replay");
  if (!replay) return;
  const frames = replay.querySelectorAll(".frame");
  const [previous, play, next] = replay.querySelectorAll("button");
  const position = replay.querySelector("output");
  let current = 0;
  let timer = null;
  const show = (index) => {
    frames[current].hidden = true;
    current = (index + frames.length) % frames.length;
    frames[current].hidden = false;
    position.textContent = `${current + 1} of ${frames.length}`;
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const advance = () => (current + 1 < frames.length ? show(current + 1) : pause());
  previous.onclick = () => { pause(); show(current - 1); };
  next.onclick = () => { pause(); show(current + 1); };
  play.onclick = () => {
    if (timer) return pause();
    if (current + 1 === frames.length) show(0);
    play.textContent = "Pause";
    timer = setInterval(advance, 500);
  };
})();
