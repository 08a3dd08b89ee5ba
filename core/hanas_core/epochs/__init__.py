"""How an epoch begins: arbitration and takeover."""
