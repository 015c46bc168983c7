package repository

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
)

// namesLimit bounds the plain bytes of the names of one drill: about a hundred for each relation.
const namesLimit = 1 << 30

// Relation is a table, index, sequence, TOAST table, view with storage or partitioned table of a database.
type Relation struct {
	// Tablespace, the database's OID and Filenode are what WAL calls it by (RelFileLocator, src/include/storage/relfilelocator.h). Filenode is 0
	// where it has no file.
	Tablespace uint32
	Filenode   uint32
	OID        uint32
	Kind       string // pg_class.relkind, such as "r", "i", "t"
	Schema     string
	Name       string
}

// NamedDatabase is a database and its relations. That of OID 0 holds what all databases share.
type NamedDatabase struct {
	OID       uint32
	Name      string
	Relations []Relation
}

// Names are the names that the relations of a cluster had at one LSN, FORMAT.md section 11: WAL has only their numbers.
type Names struct {
	Databases []NamedDatabase

	sealed []byte // the object as it was first encrypted
}

// Count returns the number of relations.
func (n *Names) Count() int {
	sum := 0
	for _, d := range n.Databases {
		sum += len(d.Relations)
	}
	return sum
}

// Database returns the name of a database.
func (n *Names) Database(oid uint32) (string, bool) {
	if d := n.database(oid); d != nil {
		return d.Name, true
	}
	return "", false
}

// ByFile returns the relation that WAL calls by these three numbers. It looks through the relations of the database.
func (n *Names) ByFile(tablespace, database, filenode uint32) (Relation, bool) {
	return n.find(database, func(r Relation) bool { return filenode != 0 && r.Filenode == filenode && r.Tablespace == tablespace })
}

// ByOID returns the relation of a database with an OID. It looks through the relations of the database.
func (n *Names) ByOID(database, oid uint32) (Relation, bool) {
	return n.find(database, func(r Relation) bool { return r.OID == oid })
}

func (n *Names) database(oid uint32) *NamedDatabase {
	for i := range n.Databases {
		if n.Databases[i].OID == oid {
			return &n.Databases[i]
		}
	}
	return nil
}

func (n *Names) find(database uint32, match func(Relation) bool) (Relation, bool) {
	d := n.database(database)
	if d == nil {
		return Relation{}, false
	}
	i := slices.IndexFunc(d.Relations, match)
	if i < 0 {
		return Relation{}, false
	}
	return d.Relations[i], true
}

// databaseJSON is the line of a database.
type databaseJSON struct {
	Database uint32 `json:"database"`
	Name     string `json:"name"`
}

// MarshalJSON writes the line of a relation, FORMAT.md section 11.
func (r Relation) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{r.Tablespace, r.Filenode, r.OID, r.Kind, r.Schema, r.Name})
}

var errNamesLine = errors.New("line of names is not what it should be")

// UnmarshalJSON reads the line of a relation. What follows the fields it knows is passed over.
func (r *Relation) UnmarshalJSON(b []byte) error {
	var fields []json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	into := []any{&r.Tablespace, &r.Filenode, &r.OID, &r.Kind, &r.Schema, &r.Name}
	if len(fields) < len(into) {
		return fmt.Errorf("%w: %d fields", errNamesLine, len(fields))
	}
	for i, v := range into {
		if err := json.Unmarshal(fields[i], v); err != nil {
			return err
		}
	}
	return nil
}

// encode returns the object, JSON lines in zstd frames of at most 1 MiB plain, and what the report says of it. It is checked by decoding it again.
func (n *Names) encode() (NamesObject, []byte, error) {
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	for _, d := range n.Databases {
		if err := lines.Encode(databaseJSON{d.OID, d.Name}); err != nil {
			return NamesObject{}, nil, err
		}
		for _, r := range d.Relations {
			if err := lines.Encode(r); err != nil {
				return NamesObject{}, nil, err
			}
		}
	}
	var body []byte
	encoder := compression.Zstd().NewEncoder()
	for frame := range slices.Chunk(text.Bytes(), frameSize) {
		body = encoder.EncodeFrame(body, frame)
	}
	o := NamesObject{StoredObject: storedObject(body), Plain: int64(text.Len()), Relations: n.Count()}
	if !o.valid() {
		return o, nil, fmt.Errorf("%w: %d bytes of names", errDrillField, o.Plain)
	}
	again, err := o.decode(body)
	if err == nil && !bytes.Equal(again, text.Bytes()) {
		err = errSelfCheck
	}
	return o, body, err
}

// decode returns the plain bytes.
func (o *NamesObject) decode(body []byte) ([]byte, error) {
	text, err := compression.Zstd().NewDecoder().DecodeFrame(nil, body, int(o.Plain))
	if err == nil && int64(len(text)) != o.Plain {
		err = fmt.Errorf("%w: %d plain bytes, want %d", errNamesLine, len(text), o.Plain)
	}
	return text, err
}

// parseNames reads the plain bytes.
func parseNames(text []byte) (*Names, error) {
	var n Names
	for line := range bytes.Lines(text) {
		if line[0] == '[' {
			if len(n.Databases) == 0 {
				return nil, fmt.Errorf("%w: a relation of no database", errNamesLine)
			}
			var r Relation
			if err := json.Unmarshal(line, &r); err != nil {
				return nil, err
			}
			last := &n.Databases[len(n.Databases)-1]
			last.Relations = append(last.Relations, r)
			continue
		}
		var d databaseJSON
		if err := json.Unmarshal(line, &d); err != nil {
			return nil, err
		}
		if n.database(d.Database) != nil {
			return nil, fmt.Errorf("%w: database %d comes twice", errNamesLine, d.Database)
		}
		n.Databases = append(n.Databases, NamedDatabase{OID: d.Database, Name: d.Name})
	}
	return &n, nil
}

// DrillNames reads the names that belong to d, a report that Drill or Drills returned. The error is ErrNoDrill if it has none, and a *CorruptError if
// they are not what the report says, and a *KeyError if they are encrypted and the keys do not open them.
func (c *Cluster) DrillNames(ctx context.Context, d Drill) (*Names, error) {
	if d.Names == nil {
		return nil, fmt.Errorf("names of drill %s: %w", d.ID, ErrNoDrill)
	}
	body, err := c.readNames(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("names of drill %s: %w", d.ID, err)
	}
	key := d.Names.key(c.id, d.ID)
	if d.Names.Encrypted {
		if _, body, err = c.ring().unseal(nil, key, body); err != nil {
			return nil, fmt.Errorf("names of drill %s: %w", d.ID, err)
		}
	}
	text, err := d.Names.decode(body)
	if err != nil {
		return nil, &CorruptError{Key: key, Reason: "content", Err: err}
	}
	names, err := parseNames(text)
	if err != nil {
		return nil, &CorruptError{Key: key, Reason: "content", Err: err}
	}
	return names, nil
}

// readNames returns the stored bytes, compared with the report.
func (c *Cluster) readNames(ctx context.Context, d Drill) ([]byte, error) {
	key := d.Names.key(c.id, d.ID)
	body, err := storage.ReadAll(ctx, c.store, key, d.Names.Size)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrTooLarge):
		return nil, &CorruptError{Key: key, Reason: "not what the report says", Err: err}
	case err != nil:
		return nil, err
	case int64(len(body)) != d.Names.Size || sha256.Sum256(body) != d.Names.SHA256:
		return nil, &CorruptError{Key: key, Reason: "SHA-256 differs"}
	}
	return body, nil
}

// Sort orders databases by OID and their relations by tablespace and file.
func (n *Names) Sort() {
	slices.SortFunc(n.Databases, func(a, b NamedDatabase) int { return cmp.Compare(a.OID, b.OID) })
	for _, d := range n.Databases {
		slices.SortFunc(d.Relations, func(a, b Relation) int {
			return cmp.Or(cmp.Compare(a.Tablespace, b.Tablespace), cmp.Compare(a.Filenode, b.Filenode), cmp.Compare(a.OID, b.OID))
		})
	}
}
