// Reads the page again every 5 s while somebody looks at it, and puts the new content in place of the old.
"use strict";
(() => {
  const PAUSE = 5000;
  const main = document.getElementById("main");
  const sign = document.getElementById("fresh");
  let reading = false;
  // Whoever types, has opened a list or selects text must not lose it.
  const inUse = () =>
    main.contains(document.activeElement) && document.activeElement !== main ||
    String(document.getSelection()) !== "";
  const refresh = async () => {
    if (document.hidden || reading || inUse()) return;
    reading = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload();
      if (!answer.ok) throw new Error(answer.status);
      const read = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      if (read && !inUse()) main.replaceChildren(...document.importNode(read, true).childNodes);
      sign.textContent = "Refreshes every 5 s while you look at it";
      sign.classList.remove("problem");
    } catch {
      sign.textContent = "The last refresh failed; what you see may be old";
      sign.classList.add("problem");
    } finally {
      reading = false;
    }
  };
  sign.hidden = false;
  setInterval(refresh, PAUSE);
  document.addEventListener("visibilitychange", refresh);
})();
