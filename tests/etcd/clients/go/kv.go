package main

import (
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// kv: puts, ranges, transactions, compaction, and what they are answered.
func kv(r *run) {
	client := r.client()
	defer client.Close()
	put := func(key, value string, options ...clientv3.OpOption) *clientv3.PutResponse {
		response, err := client.Put(r.ctx, r.prefix+key, value, options...)
		must(err)
		return response
	}
	first := put("a", "1").Header.Revision
	shown := func(kvs ...*clientv3.OpResponse) {
		for _, op := range kvs {
			switch {
			case op.Get() != nil:
				fmt.Printf("  range: %d of %d, more %t:", len(op.Get().Kvs), op.Get().Count, op.Get().More)
				for _, kv := range op.Get().Kvs {
					fmt.Printf(" %s=%s(+%d,+%d,%d)", kv.Key, kv.Value, kv.CreateRevision-first, kv.ModRevision-first, kv.Version)
				}
				fmt.Printf(" at +%d\n", op.Get().Header.Revision-first)
			case op.Put() != nil:
				previous := "nothing"
				if op.Put().PrevKv != nil {
					previous = string(op.Put().PrevKv.Value)
				}
				fmt.Printf("  put over %s\n", previous)
			case op.Del() != nil:
				fmt.Printf("  deleted %d, told %d\n", op.Del().Deleted, len(op.Del().PrevKvs))
			}
		}
	}
	get := func(key string, options ...clientv3.OpOption) {
		response, err := client.Get(r.ctx, r.prefix+key, options...)
		if err != nil {
			fmt.Printf("get %s: %v\n", key, err)
			return
		}
		fmt.Printf("get %s\n", key)
		op := response.OpResponse()
		shown(&op)
	}
	for number := range 5 {
		put(fmt.Sprintf("list/%d", number), fmt.Sprint(10-number))
	}
	response := put("a", "2", clientv3.WithPrevKV()).OpResponse()
	shown(&response)
	get("a")
	get("a", clientv3.WithRev(first))
	get("a", clientv3.WithRev(first+1000))
	get("nothing")
	get("list/", clientv3.WithPrefix())
	get("list/", clientv3.WithPrefix(), clientv3.WithLimit(2))
	get("list/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend))
	get("list/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	get("list/3", clientv3.WithRange(r.prefix+"list/5"), clientv3.WithSerializable())
	get("list/", clientv3.WithLastCreate()...)

	a := r.prefix + "a"
	for _, expected := range []string{"2", "9"} {
		transaction, err := client.Txn(r.ctx).
			If(clientv3.Compare(clientv3.Value(a), "=", expected), clientv3.Compare(clientv3.Version(a), ">", 1)).
			Then(
				clientv3.OpPut(a, "3", clientv3.WithPrevKV()),
				clientv3.OpDelete(r.prefix+"list/", clientv3.WithRange(r.prefix+"list/2"), clientv3.WithPrevKV()),
				clientv3.OpGet(r.prefix+"list/", clientv3.WithPrefix())).
			Else(
				clientv3.OpGet(a),
				clientv3.OpTxn(
					[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(r.prefix+"b"), "=", 0)},
					[]clientv3.Op{clientv3.OpPut(r.prefix+"b", "new")}, nil)).
			Commit()
		must(err)
		fmt.Printf("transaction: %t at +%d\n", transaction.Succeeded, transaction.Header.Revision-first)
		for _, part := range transaction.OpResponse().Txn().Responses {
			if each := part.GetResponseRange(); each != nil {
				op := (*clientv3.GetResponse)(each).OpResponse()
				shown(&op)
			} else if each := part.GetResponsePut(); each != nil {
				op := (*clientv3.PutResponse)(each).OpResponse()
				shown(&op)
			} else if each := part.GetResponseDeleteRange(); each != nil {
				op := (*clientv3.DeleteResponse)(each).OpResponse()
				shown(&op)
			} else if each := part.GetResponseTxn(); each != nil {
				fmt.Printf("  inner transaction: %t, %d answers\n", each.Succeeded, len(each.Responses))
			}
		}
	}
	get("", clientv3.WithPrefix())
	_, err := client.Compact(r.ctx, first+3)
	must(err)
	get("a", clientv3.WithRev(first))
	_, err = client.Compact(r.ctx, first+3)
	fmt.Printf("compaction again: %v\n", err)
	_, err = client.Put(r.ctx, "", "1")
	fmt.Printf("put of no key: %v\n", err)
	_, err = client.Put(r.ctx, a, "1", clientv3.WithLease(4711))
	fmt.Printf("put with an unknown lease: %v\n", err)
	_, err = client.Txn(r.ctx).Then(clientv3.OpPut(a, "1"), clientv3.OpPut(a, "2")).Commit()
	fmt.Printf("the same key twice: %v\n", err)
	deleted, err := client.Delete(r.ctx, r.prefix, clientv3.WithPrefix())
	must(err)
	fmt.Printf("deleted: %d at +%d\n", deleted.Deleted, deleted.Header.Revision-first)
}
