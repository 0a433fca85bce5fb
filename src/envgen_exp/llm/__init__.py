"""Everything that speaks to a language model: client, ledger, prompts, replies, and the stand-ins for one."""
