# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Triangle meshes for rasterisation: corners split along texture seams, smooth normals."""

import numpy as np
from scipy.sparse import csr_matrix


class SurfacePart:
    """The fixed topology of one textured surface.

    A vertex on a texture seam has several texture coordinates; it is split into one corner for each.

    Args:
        faces: Array `[num_faces, 3]`, vertex indices.
        uvs: Array `[num_uvs, 2]`, texture coordinates in 0..1.
        uv_faces: Array `[num_faces, 3]`, texture coordinate indices.
    """

    def __init__(self, faces: np.ndarray, uvs: np.ndarray, uv_faces: np.ndarray):
        self.vertex_ids, local = np.unique(faces, return_inverse=True)
        self._local_faces = local.reshape(-1, 3)
        keys = self._local_faces.astype(np.int64) * len(uvs) + uv_faces
        corners, triangles = np.unique(keys, return_inverse=True)
        self.triangles = triangles.reshape(-1, 3).astype(np.int32)
        self.uvs = uvs[corners % len(uvs)].astype(np.float32)
        self._corner_vertices = corners // len(uvs)
        self._faces_to_vertices = _incidence(self._local_faces, len(self.vertex_ids))

    def corners(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Computes positions and unit normals of the corners.

        Args:
            vertices: Array `[num_vertices, 3]`, positions of all vertices to which `faces` refers.

        Returns:
            Two arrays `[num_corners, 3]`.
        """
        points = vertices[self.vertex_ids]
        a, b, c = (points[self._local_faces[:, k]] for k in range(3))
        normals = self._faces_to_vertices @ np.cross(b - a, c - a)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return points[self._corner_vertices], normals[self._corner_vertices].astype(np.float32)

    def per_corner(self, values: np.ndarray) -> np.ndarray:
        """Spreads values of all vertices `[num_vertices]` to corners `[num_corners]`."""
        return values[self.vertex_ids][self._corner_vertices]


def _incidence(faces: np.ndarray, num_vertices: int) -> csr_matrix:
    """Builds the 0/1 matrix that sums face normals (length = twice the area) at their vertices."""
    columns = np.repeat(np.arange(len(faces)), 3)
    ones = np.ones(faces.size, np.float32)
    return csr_matrix((ones, (faces.reshape(-1), columns)), shape=(num_vertices, len(faces)))
