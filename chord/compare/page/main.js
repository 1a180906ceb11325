// Draws the sections in the order of the page.

slots.splice(0, SLOTS, ...firstPicks(), ...new Array(SLOTS).fill(null));
slots.length = SLOTS;
drawSummary();
drawTable();
drawCurves();
drawAlpha();
drawScatter();
drawHeat();
drawSettings();
drawAnswers();
drawRuns();
drawLeftOut();
drawFoot();
document.documentElement.dataset.ready = "yes";
