"""The rows of the table of models, family by family: fields of the configuration by model name.

Sources: arXiv 2111.11418, Tables 1, 5 and 6 (PoolFormer, its ablations), arXiv 2210.13452 and its published code (the
baselines). Numbers beside the rows are parameters and published top-1 on ImageNet-1K; docs/models.md has them all.
"""

from typing import Any

Row = dict[str, Any]
SMALL_DIMS, MEDIUM_DIMS = (64, 128, 320, 512), (96, 192, 384, 768)


def _poolformer(
    depths: tuple[int, ...], hidden_sizes: tuple[int, ...], layer_scale: float, drop_path: float, crop_pct: float
) -> Row:
    """A row for 224x224 pixels: maps of 56, 28, 14 and 7 tokens a side."""
    return {
        "depths": depths,
        "hidden_sizes": hidden_sizes,
        "layer_scale_init_value": layer_scale,
        "drop_path_rate": drop_path,
        "crop_pct": crop_pct,
    }


def poolformer_rows() -> dict[str, Row]:
    """PoolFormer, the five sizes of the first paper."""
    return {
        #                               depths       dims         scale  drop  crop          parameters  top-1
        "poolformer_s12": _poolformer((2, 2, 6, 2), SMALL_DIMS, 1e-5, 0.1, 0.9),  # 11,915,176  77.2
        "poolformer_s24": _poolformer((4, 4, 12, 4), SMALL_DIMS, 1e-5, 0.1, 0.9),  # 21,388,968  80.3
        "poolformer_s36": _poolformer((6, 6, 18, 6), SMALL_DIMS, 1e-6, 0.2, 0.9),  # 30,862,760  81.4
        "poolformer_m36": _poolformer((6, 6, 18, 6), MEDIUM_DIMS, 1e-6, 0.3, 0.95),  # 56,172,520  82.1
        "poolformer_m48": _poolformer((8, 8, 24, 8), MEDIUM_DIMS, 1e-6, 0.4, 0.95),  # 73,473,448  82.5
    }


def ablation_rows() -> dict[str, Row]:
    """The first paper's hybrids and ablations: PoolFormer-S12 with one thing changed.

    The hybrids' names are those of the published weights. Identity has such weights too and is therefore
    `metaformer_id_s12`.
    """
    base = poolformer_rows()["poolformer_s12"]
    pooling, attention, matrix = "pooling", "attention", "spatial_mlp"
    changes: dict[str, Row] = {
        "metaformer_id_s12": {"token_mixer": "identity"},  # 74.3
        "metaformer_pppa_s12": {
            "token_mixer": [pooling, pooling, pooling, attention],
            "norm": "layer_norm",
            "position_embedding": [False, False, False, True],
            "crop_pct": 0.95,
        },  # 14,038,440  78.3
        "metaformer_ppaa_s12": {
            "token_mixer": [pooling, pooling, attention, attention],
            "norm": "layer_norm",
            "position_embedding": [False, False, True, False],
            "crop_pct": 0.95,
        },  # 16,535,592  81.0
        "metaformer_pppf_s12": {"token_mixer": [pooling, pooling, pooling, matrix]},  # 11,919,978  77.5
        "metaformer_ppff_s12": {"token_mixer": [pooling, pooling, matrix, matrix], "crop_pct": 0.95},  # 77.9
        "poolformer_s12_random": {"token_mixer": "random"},  # 21 M frozen more  75.8
        "poolformer_s12_depthwise_conv": {"token_mixer": "depthwise_conv"},  # 78.1
        "poolformer_s12_pool5": {"pool_size": 5},  # 77.2
        "poolformer_s12_pool7": {"pool_size": 7},  # 77.1
        "poolformer_s12_pool9": {"pool_size": 9},  # 76.8
        "poolformer_s12_layer_norm": {"norm": "layer_norm"},  # 76.5
        "poolformer_s12_batch_norm": {"norm": "batch_norm"},  # 76.4
        "poolformer_s12_no_norm": {"norm": "none"},  # 46.1
        "poolformer_s12_relu": {"hidden_act": "relu"},  # 76.4
        "poolformer_s12_silu": {"hidden_act": "silu"},  # 77.2
        "poolformer_s12_no_residual": {"use_residual": False},  # 0.1
        "poolformer_s12_no_mlp": {"use_channel_mlp": False},  # 5.7
    }
    return {name: {**base, **change} for name, change in changes.items()}


def baseline_rows() -> dict[str, Row]:
    """The second paper's families: nothing but a mixer between identity and attention differs."""
    shared: Row = {
        "embedding_norm": "layer_norm",
        "norm_eps": 1e-6,
        "norm_bias": False,
        "hidden_act": "star_relu",
        "mlp_bias": False,
        "layer_scale_init_value": None,
        "res_scale_init_value": [None, None, 1.0, 1.0],
        "head_norm": "after_pooling",
        "convolution_init": "trunc_normal",
        "crop_pct": 1.0,
    }
    basic = {
        "s12": ((2, 2, 6, 2), SMALL_DIMS),
        "s24": ((4, 4, 12, 4), SMALL_DIMS),
        "s36": ((6, 6, 18, 6), SMALL_DIMS),
        "m36": ((6, 6, 18, 6), MEDIUM_DIMS),
        "m48": ((8, 8, 24, 8), MEDIUM_DIMS),
    }
    strong = {
        "s18": ((3, 3, 9, 3), SMALL_DIMS),
        "s36": ((3, 12, 18, 3), SMALL_DIMS),
        "m36": ((3, 12, 18, 3), (96, 192, 384, 576)),
        "b36": ((3, 12, 18, 3), (128, 256, 512, 768)),
    }
    convolution, attention = "separable_conv", {"name": "attention", "proj_bias": False}
    no_dropout = (0.0,) * 5
    families: dict[str, tuple[Any, str, str, dict[str, Any], tuple[float, ...], tuple[float, ...]]] = {
        # family: mixers, norm, head, sizes, drop path and dropout of the head a size
        "identityformer": ("identity", "group_norm", "linear", basic, (0.1, 0.1, 0.2, 0.3, 0.4), no_dropout),
        "randformer": (
            ["identity", "identity", "random", "random"],
            "group_norm",
            "linear",
            basic,
            (0.1, 0.1, 0.2, 0.3, 0.3),
            no_dropout,
        ),
        "poolformerv2": ("pooling", "group_norm", "linear", basic, (0.1, 0.1, 0.2, 0.3, 0.4), no_dropout),
        "convformer": (convolution, "layer_norm", "mlp", strong, (0.2, 0.3, 0.4, 0.6), no_dropout),
        "caformer": (
            [convolution, convolution, attention, attention],
            "layer_norm",
            "mlp",
            strong,
            (0.15, 0.3, 0.4, 0.6),
            (0.0, 0.4, 0.4, 0.5),
        ),
    }
    rows = {}
    for family, (mixers, norm, head, sizes, drop_paths, dropouts) in families.items():
        for (size, (depths, dims)), drop_path, dropout in zip(sizes.items(), drop_paths, dropouts, strict=False):
            rows[f"{family}_{size}"] = {
                **shared,
                "token_mixer": mixers,
                "norm": norm,
                "head": head,
                "depths": depths,
                "hidden_sizes": dims,
                "drop_path_rate": drop_path,
                "classifier_dropout": dropout,
            }
    return rows


def compared_rows() -> dict[str, Row]:
    """Stand-ins for the systems that the first paper compares with and timm lacks: PVT (v1) and Swin-Mixer.

    They have the systems' mixers, widths, depths and norms in this project's frame; docs/models.md says what differs.
    """
    shared: Row = {
        "norm": "layer_norm",
        "embedding_norm": "layer_norm",
        "layer_scale_init_value": None,
        "patch_sizes": (4, 2, 2, 2),
        "padding": (0, 0, 0, 0),
        "convolution_init": "trunc_normal",
        "crop_pct": 0.875,
    }
    reducing = [{"name": "spatial_reduction_attention", "reduction": reduction} for reduction in (8, 4, 2, 1)]
    pvt: Row = {
        **shared,
        "norm_eps": 1e-6,
        "hidden_sizes": SMALL_DIMS,
        "mlp_ratio": [8, 8, 4, 4],
        "position_embedding": True,
        "token_mixer": reducing,
    }
    tiny_windows: Row = {**shared, "image_size": 256, "depths": (2, 2, 6, 2), "hidden_sizes": (96, 192, 384, 768)}

    def windows(window_size: int, head_dim: int) -> Row:
        return {"token_mixer": {"name": "window_mlp", "window_size": window_size, "head_dim": head_dim}}

    return {
        "pvt_v1_tiny": {**pvt, "depths": (2, 2, 2, 2), "drop_path_rate": 0.1},
        "pvt_v1_small": {**pvt, "depths": (3, 4, 6, 3), "drop_path_rate": 0.1},
        "pvt_v1_medium": {**pvt, "depths": (3, 4, 18, 3), "drop_path_rate": 0.3},
        "pvt_v1_large": {**pvt, "depths": (3, 8, 27, 3), "drop_path_rate": 0.3},
        "swin_mixer_t_d24": {**tiny_windows, **windows(8, 24), "drop_path_rate": 0.2},
        "swin_mixer_t_d6": {**tiny_windows, **windows(8, 6), "drop_path_rate": 0.2},
        "swin_mixer_b_d24": {
            **shared,
            **windows(7, 32),
            "depths": (2, 2, 18, 2),
            "hidden_sizes": (128, 256, 512, 1024),
            "drop_path_rate": 0.5,
        },
    }


def _small_image(depths: tuple[int, ...], hidden_sizes: tuple[int, ...], drop_path: float = 0.0) -> Row:
    """A row for 32x32 pixels: maps of 16, 8, 4 and 2 tokens a side."""
    return {
        "image_size": 32,
        "patch_sizes": (3, 3, 3, 3),
        "strides": (2, 2, 2, 2),
        "padding": (1, 1, 1, 1),
        "depths": depths,
        "hidden_sizes": hidden_sizes,
        # Larger than the paper's 1e-5, which a run of minutes has no time to grow; without any scale, subtracting the
        # average from normalised tokens outweighs the young stem, and pooling trains worse.
        "layer_scale_init_value": 1e-2,
        "drop_path_rate": drop_path,
        "crop_pct": 1.0,
        "num_labels": 10,
    }


def small_rows() -> dict[str, Row]:
    """This project's own, for images of 32 pixels and studies of minutes."""
    return {
        "poolformer_nano": _small_image((1, 1, 1, 1), (16, 32, 48, 64)),  # 0.11 M
        "poolformer_xxs": _small_image((2, 2, 2, 2), (24, 48, 64, 96)),  # 0.36 M
        "poolformer_xs": _small_image((2, 2, 4, 2), (40, 80, 128, 192), drop_path=0.1),  # 1.6 M
    }
