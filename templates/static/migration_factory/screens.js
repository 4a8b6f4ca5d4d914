// What the pages need beyond the theme: say so when live figures stop coming, and mark overflowing tables.
(function () {
    "use strict";

    function live(event) {
        var element = event.target.closest && event.target.closest("[data-live]");
        return element ? document.getElementById("live-trouble") : null;
    }

    function lost(event) {
        var note = live(event);
        if (note) note.hidden = false;
    }

    document.addEventListener("htmx:sendError", lost);
    document.addEventListener("htmx:responseError", lost);
    document.addEventListener("htmx:timeout", lost);
    document.addEventListener("htmx:afterRequest", function (event) {
        var note = event.detail.successful && document.getElementById("live-trouble");
        if (note) note.hidden = true;
    });

    // A figure that is on its way must not hang for ever on a dead connection.
    document.addEventListener("DOMContentLoaded", function () {
        if (window.htmx) window.htmx.config.timeout = 15000;
    });

    // Scrollable tables can be reached and scrolled with the keyboard.
    function markScrollable(root) {
        root.querySelectorAll(".mf-scroll").forEach(function (box) {
            if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
            else box.removeAttribute("tabindex");
        });
    }
    document.addEventListener("DOMContentLoaded", function () { markScrollable(document); });
    document.addEventListener("htmx:afterSettle", function () { markScrollable(document); });

    // One press is one run: a form that was sent is not sent again.
    document.addEventListener("submit", function (event) {
        if (!event.target.matches("[data-once]")) return;
        event.target.querySelectorAll("button[type=submit]").forEach(function (button) {
            window.setTimeout(function () { button.disabled = true; }, 0);
        });
    });
    window.addEventListener("pageshow", function (event) {
        if (!event.persisted) return;
        document.querySelectorAll("[data-once] button[type=submit]").forEach(function (b) { b.disabled = false; });
    });
})();
