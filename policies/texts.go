package policies

import (
	"maps"

	"github.com/sandgate/sandgate/internal/bilingual"
)

// texts are this package's errors in Chinese: who applies a document is told in the
// language that the documents are written in.
var texts = func() bilingual.Book {
	all := maps.Clone(documentTexts)
	maps.Copy(all, ruleTexts)
	maps.Copy(all, modelTexts)
	maps.Copy(all, twinTexts)
	maps.Copy(all, federationTexts)
	return all
}()
