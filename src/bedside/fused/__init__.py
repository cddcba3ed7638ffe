"""The forward and backward pass of the Llama family on a CPU, without what nobody reads.

    if stack.why_not(model) is None:
        step = Fused(model)
        loss = step.summed_loss(packs.pack(rows, share=True))    # gradients land in peft's own parameters

Training and the scoring of likelihoods compute their numbers here; other models and devices go through transformers.
"""
