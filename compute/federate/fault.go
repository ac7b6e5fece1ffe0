package federate

import (
	"fmt"

	"github.com/sandgate/sandgate/policies"
)

// Codes of faults. Each ends the round.
const (
	codeProposal     = "FEDERATION_PROPOSAL"     // the proposal contradicts itself
	codeMessage      = "FEDERATION_MESSAGE"      // malformed, or of another round or sender
	codeSignature    = "FEDERATION_SIGNATURE"    // not signed by who is said to speak
	codeOrder        = "FEDERATION_ORDER"        // not its turn, or twice
	codeLate         = "FEDERATION_LATE"         // the deadline is over
	codeClock        = "FEDERATION_CLOCK"        // a clock is too far from ours
	codeSchema       = "FEDERATION_SCHEMA"       // columns, code lists or clamps differ
	codeDeclined     = "FEDERATION_DECLINED"     // a party does not take part
	codeEquivocation = "FEDERATION_EQUIVOCATION" // a share is not the one committed to
	codeKey          = "FEDERATION_KEY"          // a share of the key is malformed
	codeRange        = "FEDERATION_RANGE"        // a value outside the declared range
	codeChunk        = "FEDERATION_CHUNK"        // a part is malformed or not the signed one
	codeFew          = "FEDERATION_FEW"          // fewer contributors than k
	codeDifference   = "FEDERATION_DIFFERENCE"   // with earlier sums, fewer than k could be told apart
	codeAgain        = "FEDERATION_AGAIN"        // this node has answered the round
	codeResult       = "FEDERATION_RESULT"       // the shares do not open the sum
	codeBrief        = "FEDERATION_BRIEF"        // the brief is malformed or not the proposal's
	codeBounds       = "FEDERATION_BOUNDS"       // no parameters hold sums this wide
	codeInternal     = "FEDERATION_INTERNAL"     // this node failed
)

// Fault ends a round: what went wrong, and who is to blame. It holds no value of anyone.
type Fault struct {
	// Party is to blame; empty if it is nobody that is known.
	Party   string
	Reason  *policies.Reason
	dropped bool
}

// Error implements error in English.
func (f *Fault) Error() string { return f.Reason.Error() }

// Chinese is the fault in Chinese.
func (f *Fault) Chinese() string { return f.Reason.Chinese() }

// Dropped says whether the round goes on as if nothing had come: what was taken for a
// message was out of turn, not of this round or not signed. What is out of turn may be sent
// again.
func (f *Fault) Dropped() bool { return f.dropped }

func (f *Fault) drop() *Fault { f.dropped = true; return f }

// fault makes one; args are names and numbers of messages, columns and parts alone.
func fault(party, code, zh, en string, args ...any) *Fault {
	if party != "" && !partyPattern.MatchString(party) {
		party = ""
	}
	zh, en = fmt.Sprintf(zh, args...), fmt.Sprintf(en, args...)
	if party != "" {
		zh, en = "“"+party+"”："+zh, party+": "+en
	}
	return &Fault{Party: party, Reason: &policies.Reason{Code: code, Rule: "federation", SetBy: party, ZH: zh, EN: en}}
}

// TooWide is the fault of a proposal for whose sums a scheme has no parameters.
func TooWide(p *Proposal) *Fault {
	return fault(p.Aggregator, codeBounds, "没有参数容得下如此宽的和、如此多的参与方或单元；请缩小上下限", "no parameters hold sums this wide or so many parties or cells; narrow the bounds")
}

// Stopped is the fault of a party that cannot go on for reasons of its own: its process
// ends, or its data, journal or connection fails.
func Stopped(party string) *Fault {
	return fault(party, codeInternal, "本节点中止，密钥作废", "the node stopped; its keys are discarded")
}

// Unable is the fault of a party whose own rules stop it in a round it had joined. The
// others are told the code alone.
func Unable(party string, why *policies.Reason) *Fault {
	return fault(party, why.Code, "%s", "%s", why.ZH, why.EN)
}

// executionFailed is the fault of a contributor that read its rows and has nothing to give.
// Its code is that of every such failure, in jobs as well: what went wrong may depend on a
// person.
func executionFailed(party string) *Fault {
	return Unable(party, &policies.Reason{Code: "EXECUTION_FAILED", ZH: "执行未得出结果", EN: "the execution gave no result"})
}

func defectFault(party, code string, d *Defect) *Fault {
	f := fault(party, code, "", "")
	f.Reason.ZH += d.ZH
	f.Reason.EN += d.EN
	return f
}
