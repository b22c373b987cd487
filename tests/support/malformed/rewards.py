"""Configs with one mistake each and the messages that they get: rewards."""

REWARDS = {
    "neither reward nor pairs": (
        "    reward: mva_ray.rewards:brief\n",
        "",
        "line 10, values[1]: reward and pairs are missing: every value needs a reward to score candidates "
        "(without pairs of your own, they are made with it)",
    ),
    "pairs without reward": (
        "    reward: mva_ray.rewards:brief\n",
        "    pairs: pairs.jsonl\n",
        "line 10, values[1]: reward is missing: every value needs one to score candidates",
        "line 11, values[1].pairs: DIR/pairs.jsonl: no such file",
    ),
    "adapter without reward": (
        "    reward: mva_ray.rewards:brief\n    margin: 0.5\n",
        "    adapter: mine\n",
        "line 10, values[1]: reward is missing: every value needs one to score candidates",
    ),
    "adapter with pairs and margin": (
        "    margin: 0.5",
        "    margin: 0.5\n    pairs: train.jsonl\n    adapter: mine",
        "line 10, values[1]: pairs and margin would train an adapter, and 'adapter' brings one: keep one",
        "line 13, values[1].pairs: DIR/train.jsonl: line 1: expected a non-empty text for 'chosen', it is missing",
        "line 13, values[1].pairs: DIR/train.jsonl: line 2: expected a non-empty text for 'chosen', it is missing",
        "line 13, values[1].pairs: DIR/train.jsonl: line 3: expected a non-empty text for 'chosen', it is missing",
    ),
    "adapter with margin": (
        "    margin: 0.5",
        "    margin: 0.5\n    adapter: mine",
        "line 10, values[1]: margin would train an adapter, and 'adapter' brings one: keep one",
    ),
    "adapter that is a list": (
        "    margin: 0.5",
        "    adapter: [mine]",
        "line 12, values[1].adapter: expected a PEFT LoRA directory, got ['mine']",
    ),
    "empty reward": (
        "reward: mva_ray.rewards:brief",
        "reward:",
        "line 11, values[1].reward: expected package.module:function or a mapping with function or model, got nothing",
    ),
    "reward without colon": (
        "mva_ray.rewards:brief",
        "mva_ray.rewards.brief",
        "line 11, values[1].reward: expected package.module:function, such as mva_ray.rewards:positive, got "
        "'mva_ray.rewards.brief'",
    ),
    "reward of no module": (
        "mva_ray.rewards:brief",
        "no_such_module.rewards:brief",
        "line 11, values[1].reward: there is no module 'no_such_module': it is neither installed nor next to the "
        "config nor in the current directory",
    ),
    "reward module needs a library": (
        "mva_ray.rewards:brief",
        "config_test_broken:brief",
        "line 11, values[1].reward: the module 'config_test_broken' does not import: ModuleNotFoundError: No module "
        "named 'no_such_library'",
    ),
    "reward module raises": (
        "mva_ray.rewards:brief",
        "config_test_raising:brief",
        "line 11, values[1].reward: the module 'config_test_raising' does not import: RuntimeError: no luck",
    ),
    "reward module exits": (
        "mva_ray.rewards:brief",
        "config_test_exiting:brief",
        "line 11, values[1].reward: the module 'config_test_exiting' does not import: SystemExit: bye",
    ),
    "reward misspelt": (
        "mva_ray.rewards:brief",
        "mva_ray.rewards:breif",
        "line 11, values[1].reward: the module 'mva_ray.rewards' has no 'breif'; did you mean 'brief'?",
    ),
    "reward not callable": (
        "mva_ray.rewards:brief",
        "{function: config_test_rewards:number}",
        "line 11, values[1].reward.function: 'number' in the module 'config_test_rewards' is not a function",
    ),
    "reward with two sources": (
        "mva_ray.rewards:brief",
        "{function: mva_ray.rewards:brief, model: org/model}",
        "line 11, values[1].reward: give exactly one of 'function' (package.module:function) and 'model' (id or "
        "directory)",
    ),
    "reward without source": (
        "mva_ray.rewards:brief",
        "{batch_size: 4}",
        "line 11, values[1].reward: give exactly one of 'function' (package.module:function) and 'model' (id or "
        "directory)",
    ),
    "reward resources": (
        "mva_ray.rewards:brief",
        "{function: mva_ray.rewards:brief, resources: {gpus: 1}}",
        "line 11, values[1].reward.resources.gpus: unknown key; did you mean 'num_gpus'?",
    ),
}
