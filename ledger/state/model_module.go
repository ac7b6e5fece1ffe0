package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// module is one whose file the gateway holds.
type module struct {
	Operator, SHA256 string
	Seq              uint64
}

// HeldModule is the entry by which the gateway holds an operator's module.
func (s *State) HeldModule(operator, digest string) (seq uint64, ok bool) {
	m, ok := s.models.modules[keyed(operator, digest)]
	return m.Seq, ok
}

// HoldsModule says whether the gateway holds an operator's module, by its digest.
func (s *State) HoldsModule(operator, digest string) bool {
	_, ok := s.HeldModule(operator, digest)
	return ok
}

// ModuleFile names what is kept of a module, among the models. One operator's is not
// another's, whatever its digest.
func ModuleFile(operator, digest string) string {
	sum := sha256.Sum256([]byte("sandgate/module/v1\n" + keyed(operator, digest)))
	return "module-" + hex.EncodeToString(sum[:10])
}

// ModuleFiles lists what is kept of modules, in order.
func (s *State) ModuleFiles() []string {
	var out []string
	for _, m := range s.models.modules {
		out = append(out, ModuleFile(m.Operator, m.SHA256))
	}
	slices.Sort(out)
	return out
}

// DecideModule says whether a product's module may be taken in, and which it is: what
// the filed product pins, and nothing else.
func (s *State) DecideModule(operator, product string) (entry.ModelModule, *policies.Reason) {
	p, ok := s.book.ModelProduct(product)
	if !ok || p.Operator != operator {
		return entry.ModelModule{}, &policies.Reason{Code: "PRODUCT_UNKNOWN", Rule: "product", SetBy: "sandgate", ZH: "您没有这个模型产品", EN: "you have no such model product",
			HintZH: "先用 sandgate model draft --module 拟稿并登记", HintEN: "draft it with sandgate model draft --module and file it first"}
	}
	if p.Model.Family != policies.FamilyModule || p.Model.Module == nil {
		return entry.ModelModule{}, &policies.Reason{Code: "MODULE_NOT_NEEDED", Rule: "product/" + product, SetBy: "sandgate", ZH: "该产品不是 WebAssembly 模块", EN: "the product is no WebAssembly module",
			HintZH: "直接用 sandgate model train 训练", HintEN: "train it with sandgate model train"}
	}
	return entry.ModelModule{Product: product, Version: p.Digest(), SHA256: p.Model.Module.SHA256, Size: p.Model.Module.Size}, nil
}

func (s *State) applyModelModule(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	m := e.ModelModule
	p, ok := s.book.ModelProduct(m.Product)
	if !ok {
		return errors.New("no model product of this name is filed")
	}
	want, x := s.DecideModule(p.Operator, m.Product)
	if x != nil {
		return x
	}
	if *m != want {
		return errors.New("the module is not the one that the product pins")
	}
	if s.HoldsModule(p.Operator, m.SHA256) {
		return errors.New("the module is held already")
	}
	s.models.modules[keyed(p.Operator, m.SHA256)] = module{p.Operator, m.SHA256, e.Seq}
	return nil
}

// missingModule refuses to run a module whose file was not brought.
func (s *State) missingModule(operator string, spec policies.ModelSpec, product string) *policies.Reason {
	if spec.Family != policies.FamilyModule || s.HoldsModule(operator, spec.Module.SHA256) {
		return nil
	}
	return &policies.Reason{Code: "MODULE_MISSING", Rule: "product/" + product, SetBy: "sandgate", ZH: "网关没有该产品所登记的 WebAssembly 模块", EN: "the gateway does not hold the WebAssembly module that the product pins",
		HintZH: "用 sandgate model upload 上传", HintEN: "bring it with sandgate model upload"}
}

// certifies holds a certificate to the model it is of: the gate's for what was trained,
// and for a module one without attacks, of the very file that was reviewed.
func (s *State) certifies(m *Model, c *entry.ModelCertified) error {
	p, ok := s.book.ModelProduct(m.Request.Product)
	if !ok {
		return errors.New("the model's product is gone")
	}
	own := p.Model.Family == policies.FamilyModule
	if own != (c.Certificate.Basis == policies.BasisOwn) {
		return errors.New("the certificate is not of the model's family")
	}
	if own && c.Parameters != p.Model.Module.SHA256 {
		return errors.New("the module that ran is not the one that was reviewed")
	}
	return nil
}
