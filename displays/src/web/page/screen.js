// The guest's screen: draws what comes, and sends what hands do.

export class Screen {
  // `send` takes an object for the server; `hint` shows a line to the person, or none.
  constructor(canvas, send, hint) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.send = send;
    this.hint = hint;
    this.absolute = false;
    this.down = new Set();
    // Parts are inflated one after the other, so that they are drawn in their order.
    this.queue = Promise.resolve();
    this.wheel = { x: 0, y: 0 };
    this.listen();
  }

  resize(width, height) {
    this.then(() => {
      this.canvas.width = width;
      this.canvas.height = height;
      this.fit();
    });
  }
  // Small screens are shown twice as large where there is room, by whole pixels.
  fit() {
    const { canvas } = this;
    const room = canvas.parentElement.getBoundingClientRect();
    const most = Math.min((room.width - 16) / canvas.width, (room.height - 16) / canvas.height);
    const scale = most >= 1 ? Math.floor(most) : most;
    canvas.style.width = `${canvas.width * scale}px`;
    canvas.style.height = `${canvas.height * scale}px`;
    canvas.classList.toggle("smaller", scale < 1);
  }
  part(x, y, width, height, packed) {
    const pixels = inflate(packed);
    this.then(async () => {
      const bytes = new Uint8ClampedArray(await pixels);
      this.context.putImageData(new ImageData(bytes, width, height), x, y);
    });
  }
  frameEnd() {
    this.then(() => this.send({ is: "drawn" }));
  }
  then(work) {
    this.queue = this.queue.then(work).catch((error) => console.error(error));
  }

  setAbsolute(absolute) {
    if (this.absolute === absolute) return;
    this.absolute = absolute;
    this.canvas.classList.toggle("absolute", absolute);
    if (absolute && document.pointerLockElement) document.exitPointerLock();
    this.showHint();
  }
  showHint() {
    if (this.absolute || !this.active) this.hint("");
    else if (document.pointerLockElement === this.canvas) this.hint("Esc gives the mouse back.");
    else this.hint("Click into the screen to give the guest the mouse.");
  }
  releaseKeys() {
    this.down.clear();
    this.send({ is: "release" });
  }
  strike(codes) {
    for (const code of codes) this.send({ is: "key", code, down: true });
    for (const code of codes.toReversed()) this.send({ is: "key", code, down: false });
  }

  listen() {
    const { canvas } = this;
    const on = (name, handler) => canvas.addEventListener(name, handler, { passive: false });
    on("keydown", (event) => {
      event.preventDefault();
      if (event.repeat || this.down.has(event.code)) return;
      this.down.add(event.code);
      this.send({ is: "key", code: event.code, down: true });
    });
    on("keyup", (event) => {
      event.preventDefault();
      this.down.delete(event.code);
      this.send({ is: "key", code: event.code, down: false });
    });
    on("blur", () => this.releaseKeys());
    on("contextmenu", (event) => event.preventDefault());
    const locked = () => document.pointerLockElement === canvas;
    on("pointermove", (event) => {
      if (this.absolute) {
        const box = canvas.getBoundingClientRect();
        this.send({ is: "point", x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
      } else if (locked()) {
        this.send({ is: "move", dx: event.movementX, dy: event.movementY });
      }
    });
    const buttons = (event) => {
      if (this.absolute || locked()) this.send({ is: "buttons", mask: event.buttons & 31 });
    };
    on("pointerdown", (event) => {
      event.preventDefault();
      canvas.focus();
      if (!this.absolute && !locked()) {
        canvas.requestPointerLock();
        return;
      }
      canvas.setPointerCapture(event.pointerId);
      buttons(event);
    });
    on("pointerup", buttons);
    // Chords come as moves.
    on("pointermove", (event) => event.button !== -1 && buttons(event));
    on("wheel", (event) => {
      event.preventDefault();
      const notch = event.deltaMode === 0 ? 100 : 3;
      this.wheel.x += event.deltaX / notch;
      this.wheel.y += event.deltaY / notch;
      const right = Math.trunc(this.wheel.x);
      const down = Math.trunc(this.wheel.y);
      this.wheel.x -= right;
      this.wheel.y -= down;
      if (down || right) this.send({ is: "wheel", down, right });
    });
    document.addEventListener("pointerlockchange", () => {
      if (!locked()) this.send({ is: "buttons", mask: 0 });
      this.showHint();
    });
    new ResizeObserver(() => this.fit()).observe(canvas.parentElement);
  }
}

async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
