// The profile as one page: no script from elsewhere, no font, no picture.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tools/profile_report.h"

namespace tenon::tools {
namespace {

const std::map<std::string, const char*> kColours = {
    {"GEMM", "#3b6ea8"}, {"attention", "#c0662b"},       {"GEMM+attention", "#7d6b6b"},
    {"norm", "#5b8c3e"}, {"bias+activation", "#8a5a9e"}, {"embedding", "#a38b2c"},
    {"other", "#888888"}};

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Profile</title><style>
body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.4em}h2{font-size:1.15em;margin-top:2em}h3{font-size:1em}
table{border-collapse:collapse;width:100%}th,td{padding:.2em .6em;text-align:right;border-bottom:1px solid #ddd}
th{cursor:pointer;position:sticky;top:0;background:#f4f4f4}
td.t,th.t{text-align:left;overflow-wrap:anywhere}.scroll{max-height:40em;overflow:auto;border:1px solid #ddd}
.bar{display:flex;height:1.6em;margin:.5em 0}.bar span{overflow:hidden;color:#fff;padding:.1em .3em;white-space:nowrap}
svg text{font:11px system-ui,sans-serif}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}th{background:#262626}td,th{border-color:#333}
svg{background:#eee}}
</style></head><body>
<h1>Where the time goes</h1>
)";
// A click on a column's head sorts by it.
constexpr const char* kTail = R"(<script>
for(const h of document.querySelectorAll("th"))h.onclick=()=>{
 const body=h.closest("table").tBodies[0],at=[...h.parentNode.children].indexOf(h),text=h.classList.contains("t");
 const key=r=>{const v=r.children[at].textContent;return text?v:parseFloat(v)||0};
 const up=h.dataset.up=h.dataset.up==="1"?"0":"1";
 body.append(...[...body.rows].sort((a,b)=>{const x=key(a),y=key(b),c=x<y?-1:x>y?1:0;return up==="1"===text?c:-c}));
};
</script></body></html>
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

const char* colour(const std::string& group) {
  const auto it = kColours.find(group);
  return it == kColours.end() ? "#888888" : it->second;
}

std::string giga(double count, double seconds) {
  return seconds > 0 ? fmt::format("{:.1f}", count / seconds * 1e-9) : "";
}

std::string shares(const ProfileReport& report) {
  const double all = std::max(report.step_seconds(), 1e-12);
  std::string bar = "<div class=\"bar\">", rows;
  for (const Share& s : shares_of(report)) {
    const double percent = 100 * s.seconds / all;
    bar += fmt::format("<span style=\"width:{:.2f}%;background:{}\" title=\"{} {:.1f} %\">{}</span>", percent,
                       colour(s.group), escaped(s.group), percent, escaped(s.group));
    rows += fmt::format(
        "<tr><td class=\"t\">{}</td><td>{}</td><td>{:.1f}</td><td>{:.1f}</td><td>{}</td><td>{}</td></tr>\n",
        escaped(s.group), s.steps, 1e6 * s.seconds, percent, giga(s.flops, s.seconds), giga(s.bytes, s.seconds));
  }
  return bar +
         "</div>\n<table><thead><tr><th class=\"t\">group</th><th>steps</th><th>us</th><th>%</th><th>GFLOP/s</th>"
         "<th>GB/s</th></tr></thead><tbody>\n" +
         rows + "</tbody></table>\n";
}

std::string bindings(const ProfileReport& report) {
  const double all = std::max(report.step_seconds(), 1e-12);
  std::string rows;
  for (const Binding& b : bindings_of(report))
    rows += fmt::format(
        "<tr><td class=\"t\">{}</td><td>{:.1f}</td><td>{:.1f}</td><td>{:.0f}</td><td class=\"t\">{}</td></tr>\n",
        b.bound, 1e6 * b.seconds, 100 * b.seconds / all, 100 * b.of_limit, b.advice);
  if (rows.empty()) return "";
  return "<table><thead><tr><th class=\"t\">bound by</th><th>us</th><th>%</th><th>% of limit</th><th class=\"t\">what "
         "would help</th></tr></thead><tbody>\n" +
         rows + "</tbody></table>\n";
}

// Operations a byte against operations a second, both on scales of powers of ten, under the limits.
std::string roofline(const ProfileReport& report) {
  const Limits& l = report.limits;
  const double peak = std::max({l.f32, l.bf16, l.int8});
  if (peak <= 0 || l.memory <= 0) return "";
  constexpr double kPlotWidth = 720, kPlotHeight = 320, kLeft = 60, kBottom = 40, kLeast = 0.05, kMost = 2000;
  const double floor = peak * 1e-5;
  const auto x = [&](double intensity) {
    return kLeft +
           (kPlotWidth - kLeft) * std::log(std::clamp(intensity, kLeast, kMost) / kLeast) / std::log(kMost / kLeast);
  };
  const auto y = [&](double rate) {
    return (kPlotHeight - kBottom) *
           (1 - std::log(std::clamp(rate, floor, peak * 2) / floor) / std::log(peak * 2 / floor));
  };
  std::string out = fmt::format("<svg viewBox=\"0 0 {} {}\" width=\"100%\" role=\"img\" aria-label=\"roofline\">\n",
                                kPlotWidth, kPlotHeight);
  const auto roof = [&](double bytes, double top, const char* name) {
    if (bytes <= 0 || top <= 0) return;
    const double ridge = top / bytes;
    out += fmt::format(
        "<polyline fill=\"none\" stroke=\"#999\" points=\"{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}\"/>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
        x(kLeast), y(bytes * kLeast), x(ridge), y(top), x(kMost), y(top), x(kMost) - 4, y(top) - 4, name);
  };
  roof(l.memory, l.f32, "f32");
  if (l.bf16 > l.f32) roof(l.memory, l.bf16, "16 bits");
  if (l.int8 > l.bf16) roof(l.cache, l.int8, "int8, cache");
  for (const double i : {0.1, 1.0, 10.0, 100.0, 1000.0})
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:g}</text>\n", x(i),
                       kPlotHeight - kBottom + 14, i);
  out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">operations a byte</text>\n", kLeft, kPlotHeight - 6);
  for (double r = 1e6; r <= peak * 2; r *= 10)
    if (r >= floor) out += fmt::format("<text x=\"2\" y=\"{:.1f}\">{:g} G/s</text>\n", y(r), r * 1e-9);
  for (const ProfiledStep& s : report.steps) {
    if (s.cost.flops <= 0 || s.bytes() <= 0 || s.seconds <= 0) continue;
    const double share = s.seconds / std::max(report.step_seconds(), 1e-12);
    out += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\" fill-opacity=\"0.55\"><title>{} "
        "{}</title></circle>\n",
        x(s.cost.flops / s.bytes()), y(s.cost.flops / s.seconds), 2 + 40 * std::sqrt(share) * 0.5, colour(s.cost.group),
        escaped(s.kernel), escaped(s.cost.name));
  }
  return out + "</svg>\n";
}

std::string layers(const ProfileReport& report) {
  const double all = std::max(report.step_seconds(), 1e-12);
  std::string out =
      "<div class=\"scroll\"><table><thead><tr><th>#</th><th class=\"t\">value</th><th class=\"t\">kernel</th>"
      "<th class=\"t\">group</th><th "
      "class=\"t\">in</th><th>us</th><th>%</th><th>GFLOP/s</th><th>GB/s</th><th>FLOP/B</th>"
      "<th class=\"t\">bound</th><th>% of limit</th></tr></thead><tbody>\n";
  for (size_t i = 0; i < report.steps.size(); ++i) {
    const ProfiledStep& s = report.steps[i];
    out += fmt::format(
        "<tr><td>{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td><td "
        "class=\"t\">{}</td><td class=\"t\">{}</td><td>{:.2f}</td><td>{:.2f}</td>"
        "<td>{}</td><td>{}</td><td>{}</td><td class=\"t\">{}</td><td>{}</td></tr>\n",
        i, escaped(s.cost.name), escaped(s.kernel), escaped(s.cost.group), s.cost.factors, 1e6 * s.seconds,
        100 * s.seconds / all, giga(s.cost.flops, s.seconds), giga(s.bytes(), s.seconds),
        s.bytes() > 0 ? fmt::format("{:.1f}", s.cost.flops / s.bytes()) : "", s.bound,
        s.bound.empty() ? "" : fmt::format("{:.0f}", 100 * s.of_limit));
  }
  return out + "</tbody></table></div>\n";
}

std::string worth(const ProfileReport& report) {
  if (report.passes.empty()) return "";
  std::string out =
      "<h3>What each rewrite is worth</h3>\n<table><thead><tr><th class=\"t\">pass left out</th><th>applied</th><th>ms "
      "with</th>"
      "<th>ms without</th><th>% slower</th></tr></thead><tbody>\n";
  for (const PassWorth& p : report.passes) {
    const bool failed = !p.failure.empty();
    out += fmt::format(
        "<tr><td class=\"t\">{}{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", escaped(p.pass),
        failed ? ": " + escaped(p.failure) : "", p.applied, failed ? "" : fmt::format("{:.3f}", 1e3 * p.with),
        failed ? "" : fmt::format("{:.3f}", 1e3 * p.without), failed ? "" : fmt::format("{:+.1f}", 100 * p.worth()));
  }
  return out + "</tbody></table>\n";
}

}  // namespace

std::string profile_html(const std::vector<ProfileReport>& reports) {
  std::string out = kHead;
  for (const ProfileReport& r : reports) {
    out += fmt::format("<h2>{}, batch {}, length {}: {:.3f} ms a run</h2>\n", escaped(r.engine), r.batch, r.seq,
                       1e3 * r.run_seconds);
    if (r.limits.memory > 0) out += fmt::format("<p>Limits of {}.</p>\n", escaped(describe(r.limits)));
    out += shares(r) + bindings(r) + roofline(r) + worth(r) + "<h3>Steps, in the order in which they run</h3>\n" +
           layers(r);
  }
  return out + kTail;
}

}  // namespace tenon::tools
