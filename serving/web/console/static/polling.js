// Asks again and again while a view is open and its tab is looked at.
//
// `ask(current)` asks once; whatever comes when `current()` is false was overtaken, or the view was closed: it is
// dropped. So is an error; others go to `failed`.
export function polling(milliseconds, ask, failed) {
  let [timer, round, open] = [0, 0, false];

  async function look() {
    clearTimeout(timer);
    const mine = (round += 1);
    const current = () => mine === round;
    if (!document.hidden) {
      try {
        await ask(current);
      } catch (error) {
        if (current()) failed(error);
      }
    }
    if (current()) timer = setTimeout(look, milliseconds);
  }

  document.addEventListener("visibilitychange", () => {
    if (open && !document.hidden) look();
  });

  return {
    open() {
      open = true;
      look();
    },
    close() {
      open = false;
      round += 1;
      clearTimeout(timer);
    },
  };
}
