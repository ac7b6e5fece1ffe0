package federate

import (
	"math/big"
	"slices"
)

// maxVariance and maxPrice keep a round's figures within the integers they are kept in.
var (
	maxVariance = new(big.Int).Lsh(big.NewInt(1), 100)
	maxPrice    = big.NewInt(1 << 60)
)

// Check says whether the proposal makes sense by itself. Whether this node wants to take
// part is its policy's affair.
func (p *Proposal) Check() *Fault {
	bad := func(zh, en string, args ...any) *Fault { return fault(p.Aggregator, codeProposal, zh, en, args...) }
	if p.V != Version {
		return bad("提案版本 %d 未知", "the version %d of the proposal is unknown", p.V)
	}
	if !isHash(p.Nonce) || !isHash(p.Query) || !isHash(p.Schema) {
		return bad("nonce、query 和 schema 须为 64 位十六进制", "nonce, query and schema are 64 hexadecimal digits")
	}
	if p.Brief != "" && !isHash(p.Brief) {
		return bad("brief 须为 64 位十六进制", "brief is 64 hexadecimal digits")
	}
	if p.Scheme != BGV && p.Scheme != Mask {
		return bad("方案须为 bgv 或 mask", "the scheme is bgv or mask")
	}
	if f := p.checkParties(bad); f != nil {
		return f
	}
	if f := p.checkColumns(bad); f != nil {
		return f
	}
	if p.Deadline <= 0 {
		return bad("缺少截止时刻", "the deadline is missing")
	}
	return p.checkNoise(bad)
}

type complaint func(zh, en string, args ...any) *Fault

func (p *Proposal) checkParties(bad complaint) *Fault {
	for _, one := range []string{p.Regulator, p.Aggregator, p.Receiver} {
		if !partyPattern.MatchString(one) {
			return bad("主管部门、汇聚方或接收方的名称有误", "the name of regulator, aggregator or receiver is malformed")
		}
	}
	if len(p.Contributors) > MaxContributors || !ordered(p.Contributors) {
		return bad("参与方须按顺序列出，各一次，至多 %d 个", "contributors are listed in order, each once, at most %d", MaxContributors)
	}
	if len(p.Departments) < 1 || len(p.Departments) > MaxDepartments || !ordered(p.Departments) {
		return bad("密钥部门须按顺序列出，各一次，1 至 %d 个", "departments with a share of the key are listed in order, each once, 1 to %d", MaxDepartments)
	}
	if slices.Contains(p.Departments, p.Regulator) || slices.Contains(p.Contributors, p.Regulator) {
		return bad("主管部门不得兼为数源部门", "the regulator is not one of the departments")
	}
	if slices.Contains(p.Parties(), p.Aggregator) {
		return bad("汇聚方不得持有数据或密钥份额", "the aggregator holds neither data nor a share of the key")
	}
	if p.Threshold < 1 || p.Threshold > len(p.Departments) || p.Scheme == Mask && p.Threshold != len(p.Departments) {
		return bad("门限须在 1 至部门数之间；mask 方案须等于部门数", "the threshold lies between 1 and the number of departments; with mask it is all of them")
	}
	if p.MinContributors < MinContributors || len(p.Contributors) < p.MinContributors {
		return bad("参与方少于 k，且 k 不小于 %d", "there are fewer contributors than k, or k is below %d", MinContributors)
	}
	return nil
}

// ordered says whether names are well-formed, ascending and distinct.
func ordered(names []string) bool {
	for i, n := range names {
		if !partyPattern.MatchString(n) || i > 0 && names[i-1] >= n {
			return false
		}
	}
	return true
}

func (p *Proposal) checkColumns(bad complaint) *Fault {
	if len(p.Columns) < 1 || len(p.Columns) > MaxColumns {
		return bad("须有 1 至 %d 列", "there are 1 to %d columns", MaxColumns)
	}
	seen, cells := map[string]bool{}, 0
	for i, c := range p.Columns {
		if !namePattern.MatchString(c.Name) || seen[c.Name] {
			return bad("第 %d 列的名称有误或重复", "the name of column %d is malformed or stands twice", i+1)
		}
		seen[c.Name] = true
		if c.Cells < 1 || c.Cells > MaxCells-cells {
			return bad("第 %d 列的单元数有误，全部至多 %d 个", "column %d has a wrong number of cells; all have at most %d", i+1, MaxCells)
		}
		cells += c.Cells
		if c.Low > c.High || c.Low < -MaxBound || c.High > MaxBound {
			return bad("第 %d 列的上下限有误", "the bounds of column %d are wrong", i+1)
		}
	}
	return nil
}

func (p *Proposal) checkNoise(bad complaint) *Fault {
	if p.Dishonest < 0 || p.Dishonest >= p.Decryptors() {
		return bad("容许的不诚实解密方须少于解密方", "fewer decryptors may be dishonest than there are")
	}
	total := new(big.Int)
	for i, c := range p.Columns {
		if c.Sigma2 == nil || c.Sensitivity2 == nil || c.Sigma2.Sign() < 1 || c.Sensitivity2.Sign() < 1 || c.Sigma2.Cmp(maxVariance) > 0 || c.Sensitivity2.Cmp(maxVariance) > 0 {
			return bad("第 %d 列的噪声方差和灵敏度须为正，至多 2^100", "variance and sensitivity of column %d are positive, at most 2^100", i+1)
		}
		if v := p.ShareVariance(i); v.Cmp(big.NewInt(MinShareVariance)) < 0 {
			return bad("第 %d 列每个解密方的噪声方差至少 %d", "each decryptor's noise in column %d has a variance of %d at least", i+1, MinShareVariance)
		}
		price := new(big.Int).Mul(c.Sensitivity2, big.NewInt(1_000_000_000))
		if total.Add(total, price.Quo(price, c.Sigma2)).Cmp(maxPrice) > 0 {
			return bad("噪声过小，隐私价格超出范围", "there is so little noise that its price is out of range")
		}
	}
	return nil
}
