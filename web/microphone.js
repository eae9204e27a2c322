// Records the microphone as Opus in one channel, in parts of 0.1 s, and measures its level.
const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus"];
const PART_MS = 100;
const BITS_PER_SECOND = 32_000;

export class NoOpusError extends Error {}

export class Microphone {
  // Requests access to the microphone; errors are those of getUserMedia, and NoOpusError.
  static async open() {
    const mimeType = TYPES.find((type) => globalThis.MediaRecorder?.isTypeSupported(type));
    if (!mimeType) throw new NoOpusError();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    return new Microphone(stream, mimeType);
  }

  constructor(stream, mimeType) {
    this.stream = stream;
    this.context = new AudioContext();
    this.analyser = new AnalyserNode(this.context, { fftSize: 2048 });
    // A microphone may have two channels, whatever was requested: this output has one.
    const output = new MediaStreamAudioDestinationNode(this.context, { channelCount: 1, channelCountMode: "explicit" });
    this.context.createMediaStreamSource(stream).connect(this.analyser).connect(output);
    this.recorder = new MediaRecorder(output.stream, { mimeType, audioBitsPerSecond: BITS_PER_SECOND });
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  // Records until `stop`; calls `onPart` with each part and its seconds, and `onRemoved` if the microphone is removed.
  start(onPart, onRemoved) {
    this.reading = Promise.resolve(); // parts are read in order
    let before = this.context.currentTime;
    this.recorder.ondataavailable = ({ data }) => {
      const seconds = this.context.currentTime - before;
      before += seconds;
      this.reading = this.reading.then(async () => data.size && onPart(new Uint8Array(await data.arrayBuffer()), seconds));
    };
    this.stopped = new Promise((done) => (this.recorder.onstop = () => this.reading.then(done)));
    this.stream.getAudioTracks()[0].onended = onRemoved;
    this.recorder.start(PART_MS);
  }

  // Resolves when all audio so far was passed on.
  async flush() {
    const { promise, resolve } = Promise.withResolvers();
    this.recorder.addEventListener("dataavailable", resolve, { once: true });
    this.recorder.requestData();
    await promise;
    await this.reading;
  }

  // Resolves when the last part was passed on.
  async stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
    await this.stopped;
    this.close();
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
    if (this.context.state !== "closed") this.context.close();
  }

  // From 0 to 1: 0 is 60 dB below the loudest signal.
  get level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, sample) => sum + sample * sample, 0) / this.samples.length;
    return Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / 60));
  }
}
