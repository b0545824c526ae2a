// A button that records the webcam, where the browser allows it: on this machine, or over https.

export default { render({ model, el }) {
  el.innerHTML = `<button type="button" class="jupyter-button" style="width: auto; padding: 0 12px"></button>
    <span role="status"></span> <video muted playsinline hidden style="max-width: 100%; height: 120px"></video>`;
  const [button, words, video] = ["button", "span", "video"].map((name) => el.querySelector(name));
  button.textContent = `Record ${model.get("seconds")} s by webcam`;
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
    button.disabled = true;
    words.textContent = "This browser records no webcam here: the page must come from this machine or over https.";
    return;
  }
  button.addEventListener("click", async () => {
    button.disabled = true;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: true });
    } catch (error) {
      words.textContent = `No recording: ${error.message}.`;
      button.disabled = false;
      return;
    }
    const recorder = new MediaRecorder(stream), pieces = [];
    Object.assign(video, { srcObject: stream, hidden: false });
    video.play();
    words.textContent = "Recording: look into the camera and speak.";
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = async () => {
      stream.getTracks().forEach((track) => track.stop());
      video.hidden = true;
      words.textContent = "";
      button.disabled = false;
      const name = recorder.mimeType.includes("mp4") ? "webcam.mp4" : "webcam.webm";
      model.send({ name }, undefined, [await new Blob(pieces).arrayBuffer()]);
    };
    recorder.start();
    setTimeout(() => recorder.stop(), 1000 * model.get("seconds"));
  });
} };
