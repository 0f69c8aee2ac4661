// Generate: what a token is drawn from, computed here from the kept logits, and the text of each checkpoint.
(() => {
  const idle = () => window.dash_clientside.no_update;
  const say = (id, props) => window.dash_clientside.set_props(id, props);
  const float32 = Math.fround;
  const part = (type, props) => ({ type, namespace: "dash_html_components", props });

  // --- the shares that are drawn from, as `shaped` in generation.py computes them --------------------

  const total = (values, counts) => values.reduce((sum, value, i) => sum + value * counts[i], 0);

  const likeliest = (logits, tokens) => {
    let best = 0;
    logits.forEach((logit, i) => {
      if (logit > logits[best] || (logit === logits[best] && tokens[i] < tokens[best])) best = i;
    });
    return best;
  };

  // The value at which so many (by `enough`) of the largest have been counted.
  const least = (values, counts, order, enough) => {
    let seen = 0;
    for (const i of order) {
      seen += counts[i];
      if (enough(seen, i)) return values[i];
    }
    return -Infinity;
  };

  // `top` has the likeliest tokens with their logits, and the others as levels and how many have each.
  // Gives the share of each of those tokens, then of a token at each level; and what remains to choose from.
  const shaped = (top, temperature, k, p) => {
    const counts = [...top.tokens.map(() => 1), ...top.counts];
    const logits = [...top.logits, ...top.levels];
    let shares;
    if (temperature === 0) {
      const best = likeliest(logits, [...top.tokens, ...top.levels.map(() => Infinity)]);
      shares = logits.map((_, i) => Number(i === best));
    } else {
      const scaled = logits.map((logit) => float32(logit / float32(temperature)));
      const order = [...scaled.keys()].sort((a, b) => scaled[b] - scaled[a]);
      const size = counts.reduce((a, b) => a + b, 0);
      const floor = k > 0 && k < size ? least(scaled, counts, order, (seen) => seen >= k) : -Infinity;
      const weights = scaled.map((value) => (value < floor ? 0 : Math.exp(value - scaled[order[0]])));
      const whole = total(weights, counts);
      shares = weights.map((weight) => float32(weight / whole));
      if (p < 1) {
        let sum = 0;
        const last = least(shares, counts, order, (_, i) => (sum += shares[i] * counts[i]) >= p);
        shares = shares.map((share) => (share < last ? 0 : share));
        const kept = total(shares, counts);
        shares = shares.map((share) => share / kept);
      }
    }
    const choices = shares.reduce((sum, share, i) => sum + (share > 0 ? counts[i] : 0), 0);
    const surprise = shares.map((share) => (share > 0 ? -share * Math.log(share) : 0));
    return { shares, choices, entropy: total(surprise, counts) };
  };

  // --- the sliders, and the bars they redraw ----------------------------------------------------------

  const NAMES = ["temperature", "top_k", "top_p"];
  const control = (name) => ({ type: "sample-setting", name });
  const slider = (name) => ({ type: "draw-slider", name });
  const written = (value) => String(Number(value.toFixed(4)));
  const percent = (share) => (share >= 0.001 ? `${(100 * share).toFixed(1)}%` : "<0.1%");

  const bar = (share) =>
    part("Div", {
      className: "share",
      children: [
        part("Div", { style: { width: `${(100 * share).toFixed(1)}%` } }),
        part("Span", { children: percent(share) }),
      ],
    });

  const moved = () => window.dash_clientside.callback_context.triggered.map((one) => one.prop_id);

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.generate = {
    shaped,
    // A slider was moved: the control has its value, and Generate uses it.
    slid: (...values) => {
      NAMES.forEach((name, i) => {
        if (moved().some((prop) => prop.includes(`"${name}"`))) say(control(name), { value: written(values[i]) });
      });
    },
    // A control was typed into: the slider stands there.
    typed: (...values) => {
      const [controls, sliders] = [values.slice(0, 3), values.slice(3)];
      NAMES.forEach((name, i) => {
        const value = controls[i] === "" || controls[i] === null ? NaN : Number(controls[i]);
        if (Number.isFinite(value) && value !== sliders[i]) say(slider(name), { value });
      });
    },
    redraw: (top, ...controls) => {
      const cells = window.dash_clientside.callback_context.outputs_list[0];
      const [temperature, k, p] = controls.map((value) => (value === "" || value === null ? NaN : Number(value)));
      if (!top || ![temperature, k, p].every(Number.isFinite) || temperature < 0) return [cells.map(idle), idle()];
      const found = shaped(top, temperature, k, p);
      const size = top.tokens.length + top.counts.reduce((a, b) => a + b, 0);
      const about = top.tokens.length < found.choices && found.choices < size ? "about " : "";
      const words =
        `With these settings ${about}${found.choices.toLocaleString("en")} of ${size.toLocaleString("en")} ` +
        `tokens can come; ${found.entropy.toFixed(2)} nats remain.`;
      return [cells.map(({ id }) => (found.shares[id.place] ? bar(found.shares[id.place]) : "cut off")), words];
    },
    // The prompt for another model, unless something was typed since it was asked for.
    given: (given, now) => (given && now === given.replaces ? given.prompt : idle()),
    // While the checkpoints are played, the one whose text is to be written.
    played: (at, resting, tab) => (at && at.run && !resting && tab === "Generate" ? at : idle()),
  };
})();
