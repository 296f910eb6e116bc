/* What Gradio has no event for. It is part of the page's head: the page's policy lets no text be
   run as a program, so Gradio's own `js=` cannot be used. */
(() => {
  "use strict";
  const NARROW = "(max-width: 768px)";
  const OPTIONS = "h2o-relay-options";
  const root = document.documentElement;
  const narrow = () => window.matchMedia(NARROW).matches;
  const find = (selector) => document.querySelector(selector);

  // The clock of whoever looks: conversations are grouped by its days.
  document.cookie =
    `h2o_relay_zone=${new Date().getTimezoneOffset()}; path=/; max-age=31536000; samesite=strict`;

  // The options, beside the chat or over it.
  let options = false;
  try {
    options = !narrow() && localStorage.getItem(OPTIONS) === "open";
  } catch { /* a browser that keeps nothing */ }
  const drawOptions = () => {
    find("#chat")?.classList.toggle("with-options", options);
    find("#chat-options-toggle")?.setAttribute("aria-expanded", String(options));
  };
  const showOptions = (on) => {
    options = on;
    drawOptions();
    try {
      if (!narrow()) localStorage.setItem(OPTIONS, on ? "open" : "closed");
    } catch { /* likewise */ }
  };

  // The sidebar: over the page on a phone, and closed there until it is asked for.
  const sidebar = () => find("#conversations");
  const closeSidebar = () => {
    if (narrow() && sidebar()?.classList.contains("open")) {
      sidebar().querySelector(".toggle-button")?.click();
    }
  };

  // The open conversation in the address, so that a reload comes back to it.
  const setAddress = () => {
    const id = find("#chat-marker [data-conversation]")?.dataset.conversation;
    if (id === undefined) return;
    const address = new URL(window.location.href);
    if ((address.searchParams.get("c") ?? "") === id) return;
    if (id) address.searchParams.set("c", id);
    else address.searchParams.delete("c");
    window.history.replaceState(window.history.state, "", address);
  };

  // A file that the page has made: its text is in a field, its name is the signal.
  const saved = {};
  const save = (part) => {
    const mark = find(`#${part}-file-name [data-file]`);
    if (!mark || mark.dataset.at === saved[part]) return;
    saved[part] = mark.dataset.at;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const text = find(`#${part}-file textarea, #${part}-file input`)?.value ?? "";
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
      link.download = mark.dataset.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    }));
  };

  // Gradio leaves out how far a row of columns was moved when it puts a list under its field.
  const placeLists = () => {
    document.querySelectorAll(".at-desk .options:has(> .option-list)").forEach((list) => {
      list.style.left = `${list.parentElement.getBoundingClientRect().left}px`;
    });
  };

  // The box can be written to once the page is drawn; no keyboard comes up on a phone.
  let focused = false;
  const focus = () => {
    const box = find("#chat-box textarea:enabled");
    if (focused || !box) return;
    focused = true;
    if (!narrow() && document.activeElement === document.body) box.focus();
  };

  let started = false;
  const look = () => {
    if (!started && sidebar()) {
      started = true;
      setTimeout(closeSidebar, 0);
    }
    if (find("#chat")?.classList.contains("with-options") !== options) drawOptions();
    setAddress();
    placeLists();
    ["conversations", "compare"].forEach(save);
    focus();
  };
  new MutationObserver(look).observe(
    root, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] },
  );

  document.addEventListener("click", (event) => {
    const hit = (selector) => event.target.closest?.(selector);
    if (hit("#chat-options-toggle")) showOptions(!options);
    if (hit("#chat-options-close")) showOptions(false);
    if (hit("#conversations-fresh, #conversations-temporary")) closeSidebar();
  });
  document.addEventListener("change", (event) => {
    if (event.target.closest?.(".conversations-day")) closeSidebar();
  });
  // Escape closes a list of choices that is open, else it stops what the open tab answers.
  // An answer may name an element as it likes, but none of its buttons is shown.
  const STOPS = "#chat-box button.stop-button, button#compare-stop, button#grid-stop";
  let choosing = false;
  document.addEventListener("keydown", (event) => {
    choosing = event.target.getAttribute?.("aria-expanded") === "true";
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || choosing) return;
    if (narrow() && options) showOptions(false);
    else [...document.querySelectorAll(STOPS)].find((one) => one.checkVisibility())?.click();
  });
})();
