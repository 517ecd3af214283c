// A browser starts no worker for a page that was opened from a file. There, a frame does the search.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      // In a frame, postMessage would send to the frame itself.
      this.frame.srcdoc =
        `<script>postMessage = data => parent.postMessage(data, "*")</script><script src="${url}"></script>`;
      this.loaded = new Promise(resolve => this.frame.addEventListener("load", resolve, {once: true}));
      addEventListener("message", ({source, data}) => {
        if (source === this.frame.contentWindow) {
          this.dispatchEvent(new MessageEvent("message", {data}));
        }
      });
      document.body.append(this.frame);
    }

    async postMessage(data) {
      await this.loaded;
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", {data}));
    }
  };
}
