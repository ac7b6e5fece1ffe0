package gateway

import (
	"fmt"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/policies"
)

// confined says whether the level of a data set keeps it off a volume whose
// encryption is only declared. What the policy does not know is.
func (d *Domain) confined(dataset string) bool {
	out := true
	d.log.View(func() {
		if e, ok := d.state.Book().Dataset(dataset); ok {
			out = e.Confined()
		}
	})
	return out
}

// grade fills in the level of what a query derives, and what follows from it. A text
// that could not be read has none.
func (d *Domain) grade(x *Explanation, core *algebra.Core) {
	if core == nil {
		return
	}
	d.log.View(func() { x.Level, x.Wait = d.state.Book().LevelOf(*core), d.state.Book().WaitOf(*core) })
}

// confinedRefused renders want of memory for data that may not leave it: sizes of
// files in MiB and names, no data. zh and en say what became of the request.
func confinedRefused(x *engine.Confined, zh, en string) policies.Reason {
	whoseZH, whoseEN := "所涉数据集合计", "the data sets together"
	if x.Dataset != "" {
		whoseZH, whoseEN = "数据集“"+x.Dataset+"”", fmt.Sprintf("data set %q", x.Dataset)
	}
	return policies.Reason{Code: "LEVEL_CONFINES", Rule: "grading", SetBy: "sandgate",
		ZH:     fmt.Sprintf("%s需要内存 %d MiB，上限 %d MiB，而其级别不允许放上仅声明加密的大快照卷；%s", whoseZH, mib(x.Need), mib(x.Limit), zh),
		EN:     fmt.Sprintf("%d MiB of memory are needed for %s and %d MiB are allowed; data of that level is never put on a volume whose encryption is only declared; %s", mib(x.Need), whoseEN, mib(x.Limit), en),
		HintZH: "请网关管理员调大 serve --snapshot-memory，或把 --large-snapshots 放到 dm-crypt（LUKS）、fscrypt 或 tmpfs 上",
		HintEN: "ask the gateway's administrator for a larger serve --snapshot-memory, or for --large-snapshots on dm-crypt (LUKS), fscrypt or tmpfs"}
}
